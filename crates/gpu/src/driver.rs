//! NVIDIA's driver library, loaded at run time: a table of the functions that the GPU path calls.
//!
//! The table is our own, not the crate cudarc: cudarc panics where the library or a function is missing, binds to one version of CUDA
//! at build time, and compiles all of the API. Here a missing library is a [`GpuError`], the functions have had one form since CUDA 11,
//! and a test can load a library of its own.
#![expect(unsafe_code, reason = "functions of a C library, called by pointer")]

use std::error::Error;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::mem::ManuallyDrop;
use std::path::Path;
use std::ptr;
use std::sync::Arc;

use libloading::Library;

use super::error::GpuError;

/// The library by the name that the driver installs and containers get injected.
const LIBRARY: &str = "libcuda.so.1";
/// CUDA 13.0: the first version that reads PTX 9.0, which `kernels.ptx` is.
const MIN_VERSION: i32 = 13_000;

/// An address in device memory.
pub type DeviceAddress = u64;

/// A handle of the driver: a context, stream, event, module or function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle(*mut c_void);

// SAFETY: a handle is an opaque number for the driver, which serves it on each thread; nothing here dereferences it.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Handle {
    /// Returns the handle as the driver's C functions take it.
    pub(crate) fn as_ptr(self) -> *mut c_void {
        self.0
    }
}

/// Rows in device memory, such as a plane of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceRows {
    /// The address of the first row.
    pub address: DeviceAddress,
    /// Bytes from one row to the next.
    pub pitch: usize,
    /// The used bytes of a row.
    pub row_bytes: usize,
    /// The number of rows.
    pub rows: usize,
}

/// CUDA_MEMCPY2D of cuda.h.
#[repr(C)]
struct Memcpy2d {
    src_x: usize,
    src_y: usize,
    src_type: c_uint,
    src_host: *const c_void,
    src_device: DeviceAddress,
    src_array: *mut c_void,
    src_pitch: usize,
    dst_x: usize,
    dst_y: usize,
    dst_type: c_uint,
    dst_host: *mut c_void,
    dst_device: DeviceAddress,
    dst_array: *mut c_void,
    dst_pitch: usize,
    width_bytes: usize,
    height: usize,
}

impl Memcpy2d {
    /// Returns the copy of `from` to host memory, or to device memory where `to_host` is null.
    fn of(from: &DeviceRows, to_device: DeviceAddress, to_host: *mut u8, to_pitch: usize) -> Self {
        Self {
            src_x: 0,
            src_y: 0,
            src_type: MEMORY_TYPE_DEVICE,
            src_host: ptr::null(),
            src_device: from.address,
            src_array: ptr::null_mut(),
            src_pitch: from.pitch,
            dst_x: 0,
            dst_y: 0,
            dst_type: if to_host.is_null() { MEMORY_TYPE_DEVICE } else { MEMORY_TYPE_HOST },
            dst_host: to_host.cast(),
            dst_device: to_device,
            dst_array: ptr::null_mut(),
            dst_pitch: to_pitch,
            width_bytes: from.row_bytes,
            height: from.rows,
        }
    }
}

// Constants of cuda.h, 13.0.
const SCHEDULE_BLOCKING_SYNC: c_uint = 4;
const STREAM_NON_BLOCKING: c_uint = 1;
const EVENT_BLOCKING_SYNC: c_uint = 1;
const EVENT_DISABLE_TIMING: c_uint = 2;
const MEMORY_TYPE_HOST: c_uint = 1;
const MEMORY_TYPE_DEVICE: c_uint = 2;
const JIT_ERROR_LOG: c_int = 5;
const JIT_ERROR_LOG_BYTES: c_int = 6;
const LAUNCH_PARAM_END: usize = 0;
const LAUNCH_PARAM_POINTER: usize = 1;
const LAUNCH_PARAM_SIZE: usize = 2;
const PRIMARY_CONTEXT_ACTIVE: u32 = 708;

/// Bytes for the words of the driver's compiler.
const JIT_LOG_BYTES: usize = 4096;

macro_rules! driver_functions {
    ($($field:ident = $symbol:literal ($($argument:ty),*);)*) => {
        /// The functions of the library.
        struct Functions {
            $($field: unsafe extern "C" fn($($argument),*) -> u32,)*
        }

        impl Functions {
            fn find(library: &Library) -> Result<Self, libloading::Error> {
                // SAFETY: each type is the function's declaration in cuda.h. The pointers stay valid, as the library is never unloaded.
                unsafe { Ok(Self { $($field: *library.get($symbol)?,)* }) }
            }
        }
    };
}

driver_functions! {
    init = "cuInit" (c_uint);
    version = "cuDriverGetVersion" (*mut c_int);
    error_name = "cuGetErrorName" (u32, *mut *const c_char);
    error_text = "cuGetErrorString" (u32, *mut *const c_char);
    device_count = "cuDeviceGetCount" (*mut c_int);
    device = "cuDeviceGet" (*mut c_int, c_int);
    device_name = "cuDeviceGetName" (*mut c_char, c_int, c_int);
    context_flags = "cuDevicePrimaryCtxSetFlags_v2" (c_int, c_uint);
    context_retain = "cuDevicePrimaryCtxRetain" (*mut *mut c_void, c_int);
    context_release = "cuDevicePrimaryCtxRelease_v2" (c_int);
    context_bind = "cuCtxSetCurrent" (*mut c_void);
    context_wait = "cuCtxSynchronize" ();
    device_alloc = "cuMemAlloc_v2" (*mut DeviceAddress, usize);
    device_free = "cuMemFree_v2" (DeviceAddress);
    host_alloc = "cuMemHostAlloc" (*mut *mut c_void, usize, c_uint);
    host_free = "cuMemFreeHost" (*mut c_void);
    upload = "cuMemcpyHtoDAsync_v2" (DeviceAddress, *const c_void, usize, *mut c_void);
    download = "cuMemcpyDtoHAsync_v2" (*mut c_void, DeviceAddress, usize, *mut c_void);
    copy_rows = "cuMemcpy2DAsync_v2" (*const Memcpy2d, *mut c_void);
    fill = "cuMemsetD8Async" (DeviceAddress, u8, usize, *mut c_void);
    stream_create = "cuStreamCreate" (*mut *mut c_void, c_uint);
    stream_destroy = "cuStreamDestroy_v2" (*mut c_void);
    stream_wait = "cuStreamSynchronize" (*mut c_void);
    stream_wait_event = "cuStreamWaitEvent" (*mut c_void, *mut c_void, c_uint);
    event_create = "cuEventCreate" (*mut *mut c_void, c_uint);
    event_record = "cuEventRecord" (*mut c_void, *mut c_void);
    event_wait = "cuEventSynchronize" (*mut c_void);
    event_destroy = "cuEventDestroy_v2" (*mut c_void);
    module_load = "cuModuleLoadDataEx" (*mut *mut c_void, *const c_void, c_uint, *const c_int, *const *mut c_void);
    module_unload = "cuModuleUnload" (*mut c_void);
    module_function = "cuModuleGetFunction" (*mut *mut c_void, *mut c_void, *const c_char);
    launch = "cuLaunchKernel" (*mut c_void, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, *mut c_void, *const *mut c_void, *const *mut c_void);
}

/// NVIDIA's driver. A clone refers to the same library.
#[derive(Clone)]
pub struct CudaDriver {
    shared: Arc<Loaded>,
}

struct Loaded {
    functions: Functions,
    // Never unloaded: the driver has threads of its own, which would run on in memory that is gone.
    _library: ManuallyDrop<Library>,
}

impl CudaDriver {
    /// Loads the installed driver and starts it.
    ///
    /// # Errors
    ///
    /// There is no driver, it is too old, or it finds no GPU that it can use.
    pub fn load() -> Result<Self, GpuError> {
        Self::load_from(Path::new(LIBRARY))
    }

    /// Loads the driver from `library`, a path, or a name that the loader searches for.
    ///
    /// # Errors
    ///
    /// As of [`Self::load`].
    pub fn load_from(library: &Path) -> Result<Self, GpuError> {
        let missing = |error: libloading::Error| GpuError::NoDriver {
            library: library.display().to_string(),
            reason: loader_words(&error),
        };
        // SAFETY: the initialisers of the driver's library expect nothing of the process.
        let loaded = unsafe { Library::new(library) }.map_err(missing)?;
        let functions = Functions::find(&loaded).map_err(missing)?;
        let driver = Self { shared: Arc::new(Loaded { functions, _library: ManuallyDrop::new(loaded) }) };
        driver.start()?;
        Ok(driver)
    }

    fn start(&self) -> Result<(), GpuError> {
        let mut version = 0;
        // SAFETY: both take numbers, or write one into a local.
        let (initialised, versioned) = unsafe { ((self.f().init)(0), (self.f().version)(&mut version)) };
        // The version first: a driver that is too old gets the better remedy, whatever else it fails with.
        if versioned == 0 && version < MIN_VERSION {
            let version = version.unsigned_abs();
            return Err(GpuError::OldDriver { major: version / 1000, minor: version % 1000 / 10 });
        }
        self.check("cuInit", initialised)
    }

    /// Returns the number of GPUs.
    ///
    /// # Errors
    ///
    /// The driver's.
    pub fn device_count(&self) -> Result<u32, GpuError> {
        let mut count = 0;
        // SAFETY: writes one number into a local.
        self.check("cuDeviceGetCount", unsafe { (self.f().device_count)(&mut count) })?;
        Ok(count.unsigned_abs())
    }

    fn f(&self) -> &Functions {
        &self.shared.functions
    }

    /// Returns the driver's number of a GPU, and the GPU's name.
    pub(crate) fn device(&self, ordinal: u32) -> Result<(i32, String), GpuError> {
        let count = self.device_count()?;
        let index = i32::try_from(ordinal).ok().filter(|_| ordinal < count);
        let index = index.ok_or(GpuError::NoDevice { ordinal, count })?;
        let mut device = 0;
        // SAFETY: writes one number into a local.
        self.check("cuDeviceGet", unsafe { (self.f().device)(&mut device, index) })?;
        let mut name = [0_u8; 128];
        // SAFETY: writes a string of at most 128 bytes into a local of that size.
        self.check("cuDeviceGetName", unsafe {
            (self.f().device_name)(name.as_mut_ptr().cast(), 128, device)
        })?;
        let name = CStr::from_bytes_until_nul(&name).map(CStr::to_string_lossy).unwrap_or_default();
        Ok((device, name.into_owned()))
    }

    pub(crate) fn retain_context(&self, device: i32) -> Result<Handle, GpuError> {
        // SAFETY: takes numbers.
        let flags = unsafe { (self.f().context_flags)(device, SCHEDULE_BLOCKING_SYNC) };
        // Another library has the context already, and its flags stay: they decide only how a thread waits.
        if flags != PRIMARY_CONTEXT_ACTIVE {
            self.check("cuDevicePrimaryCtxSetFlags", flags)?;
        }
        let mut context = ptr::null_mut();
        // SAFETY: writes one handle into a local.
        self.check("cuDevicePrimaryCtxRetain", unsafe { (self.f().context_retain)(&mut context, device) })?;
        Ok(Handle(context))
    }

    pub(crate) fn release_context(&self, device: i32) {
        // SAFETY: takes a number. A failure at the end has no remedy.
        unsafe { (self.f().context_release)(device) };
    }

    /// Makes the context that of the calling thread, for the calls that follow.
    pub(crate) fn bind(&self, context: Handle) -> Result<(), GpuError> {
        // SAFETY: the driver checks the handle.
        self.check("cuCtxSetCurrent", unsafe { (self.f().context_bind)(context.0) })
    }

    pub(crate) fn wait_for_context(&self) -> Result<(), GpuError> {
        // SAFETY: takes nothing.
        self.check("cuCtxSynchronize", unsafe { (self.f().context_wait)() })
    }

    pub(crate) fn allocate(&self, bytes: usize) -> Result<DeviceAddress, GpuError> {
        let mut address = 0;
        // SAFETY: writes one number into a local.
        self.check("cuMemAlloc", unsafe { (self.f().device_alloc)(&mut address, bytes) })?;
        Ok(address)
    }

    pub(crate) fn free(&self, address: DeviceAddress) {
        // SAFETY: takes a number, which the driver checks. A failure at the end has no remedy.
        unsafe { (self.f().device_free)(address) };
    }

    pub(crate) fn allocate_host(&self, bytes: usize) -> Result<*mut u8, GpuError> {
        let mut pointer = ptr::null_mut();
        // SAFETY: writes one pointer into a local.
        self.check("cuMemHostAlloc", unsafe { (self.f().host_alloc)(&mut pointer, bytes, 0) })?;
        Ok(pointer.cast())
    }

    /// SAFETY (caller): `pointer` is of [`Self::allocate_host`], and nothing uses it afterwards.
    pub(crate) unsafe fn free_host(&self, pointer: *mut u8) {
        // SAFETY: by the caller's word.
        unsafe { (self.f().host_free)(pointer.cast()) };
    }

    /// SAFETY (caller): `from` has `bytes` bytes, which live and do not change until the copy is done.
    pub(crate) unsafe fn upload(
        &self,
        to: DeviceAddress,
        from: *const u8,
        bytes: usize,
        stream: Handle,
    ) -> Result<(), GpuError> {
        // SAFETY: by the caller's word; the driver checks the device address.
        self.check("cuMemcpyHtoDAsync", unsafe { (self.f().upload)(to, from.cast(), bytes, stream.0) })
    }

    /// SAFETY (caller): `to` has `bytes` bytes, which live and which nothing else uses until the copy is done.
    pub(crate) unsafe fn download(
        &self,
        to: *mut u8,
        from: DeviceAddress,
        bytes: usize,
        stream: Handle,
    ) -> Result<(), GpuError> {
        // SAFETY: by the caller's word; the driver checks the device address.
        self.check("cuMemcpyDtoHAsync", unsafe { (self.f().download)(to.cast(), from, bytes, stream.0) })
    }

    /// Copies rows to other device memory.
    pub(crate) fn copy_rows(
        &self,
        from: &DeviceRows,
        to: DeviceAddress,
        to_pitch: usize,
        stream: Handle,
    ) -> Result<(), GpuError> {
        let call = Memcpy2d::of(from, to, ptr::null_mut(), to_pitch);
        // SAFETY: the description lives during the call, and both sides are device memory, which the driver checks.
        self.check("cuMemcpy2DAsync", unsafe { (self.f().copy_rows)(&call, stream.0) })
    }

    /// Copies rows to host memory, without padding between them.
    ///
    /// SAFETY (caller): `to` has `row_bytes * rows` bytes, which live and which nothing else uses until the copy is done.
    pub(crate) unsafe fn download_rows(
        &self,
        to: *mut u8,
        from: &DeviceRows,
        stream: Handle,
    ) -> Result<(), GpuError> {
        let call = Memcpy2d::of(from, 0, to, from.row_bytes);
        // SAFETY: by the caller's word; the description lives during the call, and the driver checks the device address.
        self.check("cuMemcpy2DAsync", unsafe { (self.f().copy_rows)(&call, stream.0) })
    }

    pub(crate) fn fill(
        &self,
        address: DeviceAddress,
        value: u8,
        bytes: usize,
        stream: Handle,
    ) -> Result<(), GpuError> {
        // SAFETY: takes numbers, which the driver checks.
        self.check("cuMemsetD8Async", unsafe { (self.f().fill)(address, value, bytes, stream.0) })
    }

    pub(crate) fn create_stream(&self) -> Result<Handle, GpuError> {
        let mut stream = ptr::null_mut();
        // Non-blocking: work of ONNX Runtime on the default stream does not hold ours up, nor the reverse.
        // SAFETY: writes one handle into a local.
        self.check("cuStreamCreate", unsafe { (self.f().stream_create)(&mut stream, STREAM_NON_BLOCKING) })?;
        Ok(Handle(stream))
    }

    pub(crate) fn destroy_stream(&self, stream: Handle) {
        // SAFETY: the driver checks the handle. A failure at the end has no remedy.
        unsafe { (self.f().stream_destroy)(stream.0) };
    }

    pub(crate) fn wait_for_stream(&self, stream: Handle) -> Result<(), GpuError> {
        // SAFETY: the driver checks the handle.
        self.check("cuStreamSynchronize", unsafe { (self.f().stream_wait)(stream.0) })
    }

    pub(crate) fn let_stream_wait(&self, stream: Handle, event: Handle) -> Result<(), GpuError> {
        // SAFETY: the driver checks the handles.
        self.check("cuStreamWaitEvent", unsafe { (self.f().stream_wait_event)(stream.0, event.0, 0) })
    }

    pub(crate) fn create_event(&self) -> Result<Handle, GpuError> {
        let mut event = ptr::null_mut();
        let flags = EVENT_BLOCKING_SYNC | EVENT_DISABLE_TIMING;
        // SAFETY: writes one handle into a local.
        self.check("cuEventCreate", unsafe { (self.f().event_create)(&mut event, flags) })?;
        Ok(Handle(event))
    }

    pub(crate) fn record_event(&self, event: Handle, stream: Handle) -> Result<(), GpuError> {
        // SAFETY: the driver checks the handles.
        self.check("cuEventRecord", unsafe { (self.f().event_record)(event.0, stream.0) })
    }

    pub(crate) fn wait_for_event(&self, event: Handle) -> Result<(), GpuError> {
        // SAFETY: the driver checks the handle.
        self.check("cuEventSynchronize", unsafe { (self.f().event_wait)(event.0) })
    }

    pub(crate) fn destroy_event(&self, event: Handle) {
        // SAFETY: the driver checks the handle. A failure at the end has no remedy.
        unsafe { (self.f().event_destroy)(event.0) };
    }

    /// Compiles `ptx` for the GPU of the bound context.
    pub(crate) fn load_module(&self, ptx: &CStr) -> Result<Handle, GpuError> {
        let mut module = ptr::null_mut();
        let mut log = vec![0_u8; JIT_LOG_BYTES];
        let options = [JIT_ERROR_LOG, JIT_ERROR_LOG_BYTES];
        // cuda.h: an option that is a number is passed in place of the pointer.
        let values = [log.as_mut_ptr().cast(), ptr::without_provenance_mut(JIT_LOG_BYTES)];
        // SAFETY: the text ends with a zero; the log has the bytes that the second option names; all live during the call.
        let code = unsafe {
            (self.f().module_load)(&mut module, ptx.as_ptr().cast(), 2, options.as_ptr(), values.as_ptr())
        };
        self.check("cuModuleLoadDataEx", code).map_err(|error| with_log(error, &log))?;
        Ok(Handle(module))
    }

    pub(crate) fn unload_module(&self, module: Handle) {
        // SAFETY: the driver checks the handle. A failure at the end has no remedy.
        unsafe { (self.f().module_unload)(module.0) };
    }

    pub(crate) fn function(&self, module: Handle, name: &CStr) -> Result<Handle, GpuError> {
        let mut function = ptr::null_mut();
        // SAFETY: writes one handle into a local; the name ends with a zero.
        let code = unsafe { (self.f().module_function)(&mut function, module.0, name.as_ptr()) };
        self.check("cuModuleGetFunction", code)?;
        Ok(Handle(function))
    }

    /// Starts a kernel. `arguments` are its arguments as one struct of C.
    pub(crate) fn launch(
        &self,
        function: Handle,
        grid: [u32; 3],
        block: [u32; 2],
        arguments: &[u8],
        stream: Handle,
    ) -> Result<(), GpuError> {
        let mut bytes = arguments.len();
        let extra = [
            ptr::without_provenance_mut(LAUNCH_PARAM_POINTER),
            arguments.as_ptr().cast_mut().cast(),
            ptr::without_provenance_mut(LAUNCH_PARAM_SIZE),
            ptr::from_mut(&mut bytes).cast(),
            ptr::without_provenance_mut(LAUNCH_PARAM_END),
        ];
        // SAFETY: the driver copies `bytes` bytes of the arguments before it returns, and not more, whatever the kernel declares.
        let code = unsafe {
            let [x, y, z] = grid;
            let none = ptr::null();
            (self.f().launch)(function.0, x, y, z, block[0], block[1], 1, 0, stream.0, none, extra.as_ptr())
        };
        self.check("cuLaunchKernel", code)
    }

    pub(crate) fn check(&self, call: &'static str, code: u32) -> Result<(), GpuError> {
        match code {
            0 => Ok(()),
            _ => Err(GpuError::Call {
                call,
                code,
                name: self.words(self.f().error_name, code),
                text: self.words(self.f().error_text, code),
            }),
        }
    }

    fn words(&self, of: unsafe extern "C" fn(u32, *mut *const c_char) -> u32, code: u32) -> String {
        let mut text = ptr::null();
        // SAFETY: writes one pointer into a local: null, or a string that lives as long as the library.
        let known = unsafe { of(code, &mut text) } == 0 && !text.is_null();
        if !known {
            return "unknown error".to_owned();
        }
        // SAFETY: the pointer is not null, and the string lives as long as the library.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    }
}

impl std::fmt::Debug for CudaDriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CudaDriver")
    }
}

/// The loader's own words, which libloading keeps apart from the kind of the failure.
pub(crate) fn loader_words(error: &libloading::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

/// Adds what the driver's compiler wrote.
fn with_log(error: GpuError, log: &[u8]) -> GpuError {
    let log = CStr::from_bytes_until_nul(log).map(CStr::to_string_lossy).unwrap_or_default();
    match error {
        GpuError::Call { call, code, name, text } if !log.trim().is_empty() => {
            GpuError::Call { call, code, name, text: format!("{text}: {}", log.trim()) }
        }
        error => error,
    }
}
