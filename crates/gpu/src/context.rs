//! Owners of what the driver hands out: contexts, streams, events, device buffers and pinned host buffers.
//!
//! What is dropped holds a [`GpuWork`], since its owner may be gone long before on any thread.
//!
//! Copies between host and device are asynchronous. What a copy reads or writes on the host is a [`PinnedBuffer`], which moves into an
//! [`InFlight`] until the copy is done, so that nothing can touch it meanwhile.
#![expect(unsafe_code, reason = "host memory that the driver allocates, reads and writes")]

use std::ffi::CStr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::capture::GpuWork;
use super::driver::{CudaDriver, DeviceAddress, DeviceRows, Handle};
use super::error::GpuError;
use super::launch::{ArgumentBytes, Kernel};

/// The kernels, which the driver compiles for its GPU.
const PTX: &str = concat!(include_str!("../kernels/kernels.ptx"), "\0");

/// The primary context of a GPU, which all parts of a process share. A clone refers to the same context.
#[derive(Clone, Debug)]
pub struct CudaContext {
    shared: Arc<RetainedContext>,
}

#[derive(Debug)]
struct RetainedContext {
    driver: CudaDriver,
    ordinal: u32,
    device: i32,
    name: String,
    handle: Handle,
    /// Unset without the kernels.
    module: Option<Handle>,
    kernels: Vec<Handle>,
}

impl CudaContext {
    /// Retains the primary context of GPU `ordinal`, counted from 0, and loads the kernels.
    ///
    /// # Errors
    ///
    /// There is no such GPU, or the driver's: the GPU is too old for the kernels, or its memory is full.
    pub fn retain(driver: &CudaDriver, ordinal: u32) -> Result<Self, GpuError> {
        let mut retained = RetainedContext::new(driver, ordinal)?;
        retained.load_kernels()?;
        Ok(Self { shared: Arc::new(retained) })
    }

    /// Retains the primary context of GPU `ordinal` for copies: a kernel cannot be launched by way of it.
    ///
    /// # Errors
    ///
    /// There is no such GPU, or the driver's.
    pub fn retain_without_kernels(driver: &CudaDriver, ordinal: u32) -> Result<Self, GpuError> {
        Ok(Self { shared: Arc::new(RetainedContext::new(driver, ordinal)?) })
    }

    /// Returns the number of the GPU, from 0.
    #[must_use]
    pub fn ordinal(&self) -> u32 {
        self.shared.ordinal
    }

    /// Returns the name of the GPU.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Returns the CUcontext, for other libraries that work in it; it lives as long as a clone of this value.
    #[must_use]
    pub fn as_ptr(&self) -> *mut std::ffi::c_void {
        self.shared.handle.as_ptr()
    }

    /// Makes the context that of the calling thread, and returns the driver.
    pub(crate) fn driver(&self) -> Result<&CudaDriver, GpuError> {
        // At each call: threads of a pool, FFmpeg and ONNX Runtime change the context of a thread.
        self.shared.driver.bind(self.shared.handle)?;
        Ok(&self.shared.driver)
    }
}

impl PartialEq for CudaContext {
    fn eq(&self, other: &Self) -> bool {
        self.shared.handle == other.shared.handle
    }
}

impl RetainedContext {
    fn new(driver: &CudaDriver, ordinal: u32) -> Result<Self, GpuError> {
        let (device, name) = driver.device(ordinal)?;
        let handle = driver.retain_context(device)?;
        let driver = driver.clone();
        Ok(Self { driver, ordinal, device, name, handle, module: None, kernels: Vec::new() })
    }

    fn load_kernels(&mut self) -> Result<(), GpuError> {
        let ptx = CStr::from_bytes_with_nul(PTX.as_bytes());
        let ptx = ptx.map_err(|_| GpuError::Argument("the kernels contain a zero byte"))?;
        self.driver.bind(self.handle)?;
        let module = self.driver.load_module(ptx)?;
        self.module = Some(module);
        for name in Kernel::NAMES {
            self.kernels.push(self.driver.function(module, name)?);
        }
        Ok(())
    }
}

impl Drop for RetainedContext {
    fn drop(&mut self) {
        let _work = GpuWork::begin();
        if let Some(module) = self.module
            && self.driver.bind(self.handle).is_ok()
        {
            self.driver.unload_module(module);
        }
        self.driver.release_context(self.device);
    }
}

/// A queue of copies and kernels, which the GPU does in order.
#[derive(Debug)]
pub struct CudaStream {
    context: CudaContext,
    handle: Handle,
}

impl CudaStream {
    /// Creates a stream that runs beside all others.
    ///
    /// # Errors
    ///
    /// The driver's.
    pub fn new(context: &CudaContext) -> Result<Self, GpuError> {
        let handle = context.driver()?.create_stream()?;
        Ok(Self { context: context.clone(), handle })
    }

    /// Returns the context of the stream.
    #[must_use]
    pub fn context(&self) -> &CudaContext {
        &self.context
    }

    /// Returns the CUstream, for other libraries that work on it; it lives as long as this value.
    #[must_use]
    pub fn as_ptr(&self) -> *mut std::ffi::c_void {
        self.handle.as_ptr()
    }

    /// Waits until everything in the stream is done.
    ///
    /// # Errors
    ///
    /// The driver's, also those of work that is not done before.
    pub fn synchronize(&self) -> Result<(), GpuError> {
        self.context.driver()?.wait_for_stream(self.handle)
    }

    /// Returns an event that has happened when everything that is now in the stream is done.
    ///
    /// # Errors
    ///
    /// The driver's.
    pub fn record(&self) -> Result<CudaEvent, GpuError> {
        let event =
            CudaEvent { context: self.context.clone(), handle: self.context.driver()?.create_event()? };
        self.context.driver()?.record_event(event.handle, self.handle)?;
        Ok(event)
    }

    /// Lets what is put into the stream from now on wait for an event, on the GPU.
    ///
    /// # Errors
    ///
    /// The driver's.
    pub fn wait_for(&self, event: &CudaEvent) -> Result<(), GpuError> {
        self.context.driver()?.let_stream_wait(self.handle, event.handle)
    }

    /// Copies the first `bytes` bytes of `from` into device memory.
    ///
    /// # Errors
    ///
    /// `from` or `to` is shorter, or the driver's.
    pub fn upload(
        &self,
        from: PinnedBuffer,
        to: DeviceSlice,
        bytes: usize,
    ) -> Result<InFlight<PinnedBuffer>, GpuError> {
        check_lengths(bytes, from.len(), to.bytes)?;
        let driver = self.context.driver()?;
        // SAFETY: the buffer has the bytes, and `InFlight` keeps it from use until the copy is done.
        unsafe { driver.upload(to.address, from.pointer, bytes, self.handle) }?;
        self.in_flight(from)
    }

    /// Copies `from` into the first bytes of `to`.
    ///
    /// # Errors
    ///
    /// `to` is shorter, or the driver's.
    pub fn download(&self, from: DeviceSlice, to: PinnedBuffer) -> Result<InFlight<PinnedBuffer>, GpuError> {
        check_lengths(from.bytes, from.bytes, to.len())?;
        let driver = self.context.driver()?;
        // SAFETY: the buffer has the bytes, and `InFlight` keeps it from use until the copy is done.
        unsafe { driver.download(to.pointer, from.address, from.bytes, self.handle) }?;
        self.in_flight(to)
    }

    /// Copies `from` into device memory and waits for the end.
    ///
    /// # Errors
    ///
    /// `to` is shorter, or the driver's.
    pub fn upload_now(&self, from: &[u8], to: DeviceSlice) -> Result<(), GpuError> {
        check_lengths(from.len(), from.len(), to.bytes)?;
        let driver = self.context.driver()?;
        // SAFETY: the slice is borrowed until the copy is done: it is waited for in the next line, or has failed.
        let started = unsafe { driver.upload(to.address, from.as_ptr(), from.len(), self.handle) };
        started.and(driver.wait_for_stream(self.handle))
    }

    /// Copies `from` into `to` and waits for the end.
    ///
    /// # Errors
    ///
    /// `to` is shorter, or the driver's.
    pub fn download_now(&self, from: DeviceSlice, to: &mut [u8]) -> Result<(), GpuError> {
        check_lengths(from.bytes, from.bytes, to.len())?;
        let driver = self.context.driver()?;
        // SAFETY: the slice is borrowed until the copy is done: it is waited for in the next line, or has failed.
        let started = unsafe { driver.download(to.as_mut_ptr(), from.address, from.bytes, self.handle) };
        started.and(driver.wait_for_stream(self.handle))
    }

    /// Sets every byte of `of` to `value`.
    pub(crate) fn fill(&self, of: DeviceSlice, value: u8) -> Result<(), GpuError> {
        self.context.driver()?.fill(of.address, value, of.bytes, self.handle)
    }

    /// Copies rows to host memory, without padding between them, and waits for the end.
    ///
    /// # Errors
    ///
    /// `to` is shorter, or the driver's.
    pub fn download_rows_now(&self, from: &DeviceRows, to: &mut [u8]) -> Result<(), GpuError> {
        let bytes = from.row_bytes.checked_mul(from.rows);
        let bytes = bytes.ok_or(GpuError::Argument("a plane on the GPU is larger than memory can be"))?;
        check_lengths(bytes, bytes, to.len())?;
        let driver = self.context.driver()?;
        // SAFETY: the slice is borrowed until the copy is done: it is waited for in the next line, or has failed.
        let started = unsafe { driver.download_rows(to.as_mut_ptr(), from, self.handle) };
        started.and(driver.wait_for_stream(self.handle))
    }

    pub(crate) fn copy_rows(
        &self,
        from: &DeviceRows,
        to: DeviceAddress,
        to_pitch: usize,
    ) -> Result<(), GpuError> {
        self.context.driver()?.copy_rows(from, to, to_pitch, self.handle)
    }

    pub(crate) fn launch(
        &self,
        kernel: Kernel,
        grid: [u32; 3],
        block: [u32; 2],
        arguments: &ArgumentBytes,
    ) -> Result<(), GpuError> {
        let function = self.context.shared.kernels.get(kernel as usize);
        let function = *function.ok_or(GpuError::Argument("a kernel was launched where none is loaded"))?;
        self.context.driver()?.launch(function, grid, block, arguments.as_bytes(), self.handle)
    }

    fn in_flight<T>(&self, value: T) -> Result<InFlight<T>, GpuError> {
        match self.record() {
            Ok(event) => Ok(InFlight { value: Some(value), event }),
            Err(error) => {
                // The copy may run, and nothing says when it ends.
                if self.synchronize().is_err() {
                    std::mem::forget(value);
                }
                Err(error)
            }
        }
    }
}

impl Drop for CudaStream {
    fn drop(&mut self) {
        let _work = GpuWork::begin();
        if let Ok(driver) = self.context.driver() {
            driver.destroy_stream(self.handle);
        }
    }
}

/// A point in a stream.
#[derive(Debug)]
pub struct CudaEvent {
    context: CudaContext,
    handle: Handle,
}

impl CudaEvent {
    /// Waits until the event has happened.
    ///
    /// # Errors
    ///
    /// The driver's, also those of work before the event.
    pub fn wait(&self) -> Result<(), GpuError> {
        self.context.driver()?.wait_for_event(self.handle)
    }
}

impl Drop for CudaEvent {
    fn drop(&mut self) {
        let _work = GpuWork::begin();
        if let Ok(driver) = self.context.driver() {
            driver.destroy_event(self.handle);
        }
    }
}

/// A value that a copy uses. Dropping it waits for the copy.
#[derive(Debug)]
pub struct InFlight<T> {
    value: Option<T>,
    event: CudaEvent,
}

impl<T> InFlight<T> {
    /// Waits for the copy and returns the value.
    ///
    /// # Errors
    ///
    /// The driver's, also those of earlier work in the stream; the value is then lost.
    pub fn wait(mut self) -> Result<T, GpuError> {
        let waited = self.event.wait();
        let value = self.value.take().ok_or(GpuError::Argument("a copy was waited for twice"))?;
        match waited {
            Ok(()) => Ok(value),
            Err(error) => {
                // The GPU may still write, so the memory is leaked; a context with such an error is given up anyway.
                std::mem::forget(value);
                Err(error)
            }
        }
    }
}

impl<T> Drop for InFlight<T> {
    fn drop(&mut self) {
        if let Some(value) = self.value.take()
            && self.event.wait().is_err()
        {
            // As in `wait`.
            std::mem::forget(value);
        }
    }
}

/// Device memory. Freeing it waits for all work of the GPU, so buffers are kept and used again.
#[derive(Debug)]
pub struct DeviceBuffer {
    context: CudaContext,
    address: DeviceAddress,
    bytes: usize,
}

impl DeviceBuffer {
    /// Allocates `bytes` bytes, at least 1, of unknown content.
    ///
    /// # Errors
    ///
    /// The driver's: [`GpuError::is_out_of_memory`].
    pub fn new(context: &CudaContext, bytes: usize) -> Result<Self, GpuError> {
        let address = context.driver()?.allocate(bytes.max(1))?;
        Ok(Self { context: context.clone(), address, bytes })
    }

    /// Returns the whole buffer.
    #[must_use]
    pub fn all(&self) -> DeviceSlice {
        DeviceSlice { address: self.address, bytes: self.bytes }
    }

    /// Returns the context of the buffer.
    #[must_use]
    pub fn context(&self) -> &CudaContext {
        &self.context
    }
}

impl Drop for DeviceBuffer {
    fn drop(&mut self) {
        let _work = GpuWork::begin();
        if let Ok(driver) = self.context.driver() {
            // A kernel of any stream may still use the memory. After an error, the context is given up anyway.
            let _ = driver.wait_for_context();
            driver.free(self.address);
        }
    }
}

/// A part of device memory, of a [`DeviceBuffer`] or of another library.
///
/// It does not keep the memory alive: work on memory that is gone is an error that the GPU reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceSlice {
    /// The address of the first byte.
    pub address: DeviceAddress,
    /// The length, bytes.
    pub bytes: usize,
}

impl DeviceSlice {
    /// Returns `bytes` bytes from `start` on; `None` where the slice ends before.
    #[must_use]
    pub fn part(&self, start: usize, bytes: usize) -> Option<Self> {
        let end = start.checked_add(bytes)?;
        (end <= self.bytes).then(|| Self { address: self.address + start as DeviceAddress, bytes })
    }
}

/// Page-locked host memory, which copies use without a detour.
#[derive(Debug)]
pub struct PinnedBuffer {
    context: CudaContext,
    pointer: *mut u8,
    bytes: usize,
}

// SAFETY: the memory has one owner, and the driver frees it on each thread.
unsafe impl Send for PinnedBuffer {}
// SAFETY: a shared reference only reads.
unsafe impl Sync for PinnedBuffer {}

impl PinnedBuffer {
    /// Allocates `bytes` bytes, at least 1, all 0.
    ///
    /// # Errors
    ///
    /// The driver's: [`GpuError::is_out_of_memory`].
    pub fn new(context: &CudaContext, bytes: usize) -> Result<Self, GpuError> {
        let pointer = context.driver()?.allocate_host(bytes.max(1))?;
        // SAFETY: the driver has just allocated that many bytes, which are now initialised.
        unsafe { pointer.write_bytes(0, bytes.max(1)) };
        Ok(Self { context: context.clone(), pointer, bytes })
    }
}

impl Deref for PinnedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `new` has initialised the bytes, and no copy is under way while the buffer can be reached.
        unsafe { std::slice::from_raw_parts(self.pointer, self.bytes) }
    }
}

impl DerefMut for PinnedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and the reference is the only one.
        unsafe { std::slice::from_raw_parts_mut(self.pointer, self.bytes) }
    }
}

impl Drop for PinnedBuffer {
    fn drop(&mut self) {
        let _work = GpuWork::begin();
        if let Ok(driver) = self.context.driver() {
            // SAFETY: the pointer is of `allocate_host`, and no reference or copy outlives the owner.
            unsafe { driver.free_host(self.pointer) };
        }
    }
}

fn check_lengths(bytes: usize, from: usize, to: usize) -> Result<(), GpuError> {
    let fits = bytes <= from && bytes <= to;
    fits.then_some(()).ok_or(GpuError::Argument("a copy between host and GPU is longer than its buffers"))
}
