//! The few calls of NVIDIA's driver that decoding needs, by libraries that are loaded at run time.
//!
//! A context, a stream per decoder, and copies to host memory. FFmpeg makes all other calls itself.
#![expect(unsafe_code, reason = "the driver's libraries have a C interface")]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::fmt;
use std::ptr;
use std::sync::{Arc, OnceLock};

use libloading::Library;

use super::driver_types::{CHROMA_420, CODEC_H264, Copy2d, DecoderCapabilities, DevicePlane};

/// CU_STREAM_NON_BLOCKING: the stream waits for no other, such as those of inference.
const NON_BLOCKING: c_uint = 1;

type Status = c_int;
type ContextPointer = *mut c_void;
type StreamPointer = *mut c_void;

/// A failed call of the driver.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{call} failed with CUDA error {code} ({text})")]
pub(super) struct CudaError {
    call: &'static str,
    code: c_int,
    text: String,
}

impl CudaError {
    /// Returns true if CUDA works again only in a new process.
    pub(super) fn is_sticky(&self) -> bool {
        u32::try_from(self.code).is_ok_and(gpu::is_sticky)
    }
}

/// The functions of `libcuda.so.1`.
struct DriverCalls {
    device_get: unsafe extern "C" fn(*mut c_int, c_int) -> Status,
    context_retain: unsafe extern "C" fn(*mut ContextPointer, c_int) -> Status,
    context_release: unsafe extern "C" fn(c_int) -> Status,
    context_push: unsafe extern "C" fn(ContextPointer) -> Status,
    context_pop: unsafe extern "C" fn(*mut ContextPointer) -> Status,
    stream_create: unsafe extern "C" fn(*mut StreamPointer, c_uint) -> Status,
    stream_destroy: unsafe extern "C" fn(StreamPointer) -> Status,
    stream_synchronize: unsafe extern "C" fn(StreamPointer) -> Status,
    copy_2d: unsafe extern "C" fn(*const Copy2d, StreamPointer) -> Status,
    error_name: unsafe extern "C" fn(c_int, *mut *const c_char) -> Status,
    error_text: unsafe extern "C" fn(c_int, *mut *const c_char) -> Status,
    /// `cuvidGetDecoderCaps` of `libnvcuvid.so.1`.
    decoder_capabilities: unsafe extern "C" fn(*mut DecoderCapabilities) -> Status,
    _libraries: [Library; 2],
}

impl DriverCalls {
    /// Returns the driver, which is loaded and initialized once per process.
    ///
    /// # Errors
    /// The reason why it cannot be used: a library is missing, or it finds no GPU.
    fn get() -> Result<&'static Self, String> {
        static DRIVER: OnceLock<Result<DriverCalls, String>> = OnceLock::new();
        DRIVER.get_or_init(Self::load).as_ref().map_err(Clone::clone)
    }

    fn load() -> Result<Self, String> {
        let cuda = library("libcuda.so.1", "the host has no driver of NVIDIA, or the container gets no GPU")?;
        let cuvid = library("libnvcuvid.so.1", "a container needs the driver capability `video`")?;
        // SAFETY: the types are those of the functions in cuda.h and cuviddec.h (CUDA 13.0), and the libraries stay loaded.
        let driver = unsafe {
            let init: unsafe extern "C" fn(c_uint) -> Status = function(&cuda, c"cuInit")?;
            let driver = Self {
                device_get: function(&cuda, c"cuDeviceGet")?,
                context_retain: function(&cuda, c"cuDevicePrimaryCtxRetain")?,
                context_release: function(&cuda, c"cuDevicePrimaryCtxRelease_v2")?,
                context_push: function(&cuda, c"cuCtxPushCurrent_v2")?,
                context_pop: function(&cuda, c"cuCtxPopCurrent_v2")?,
                stream_create: function(&cuda, c"cuStreamCreate")?,
                stream_destroy: function(&cuda, c"cuStreamDestroy_v2")?,
                stream_synchronize: function(&cuda, c"cuStreamSynchronize")?,
                copy_2d: function(&cuda, c"cuMemcpy2DAsync_v2")?,
                error_name: function(&cuda, c"cuGetErrorName")?,
                error_text: function(&cuda, c"cuGetErrorString")?,
                decoder_capabilities: function(&cuvid, c"cuvidGetDecoderCaps")?,
                _libraries: [cuda, cuvid],
            };
            let status = init(0);
            driver.check("cuInit", status).map(|()| driver).map_err(|error| error.to_string())
        };
        driver
    }

    fn check(&self, call: &'static str, code: Status) -> Result<(), CudaError> {
        if code == 0 {
            return Ok(());
        }
        let said = |function: unsafe extern "C" fn(c_int, *mut *const c_char) -> Status| {
            let mut text = ptr::null();
            // SAFETY: the function writes the address of a static text, or leaves null for a number that it does not know.
            unsafe {
                function(code, &raw mut text);
                if text.is_null() { "unknown".into() } else { CStr::from_ptr(text).to_string_lossy() }
            }
        };
        let text = format!("{}: {}", said(self.error_name), said(self.error_text));
        Err(CudaError { call, code, text })
    }
}

fn library(name: &'static str, remedy: &str) -> Result<Library, String> {
    // SAFETY: loading NVIDIA's driver runs its initializers, as ONNX Runtime and FFmpeg do.
    unsafe { Library::new(name) }.map_err(|error| format!("{name} cannot be loaded ({remedy}): {error}"))
}

/// Returns a function of the library.
///
/// # Safety
/// `F` must be the function's type, and the library must stay loaded while it is called.
unsafe fn function<F: Copy>(library: &Library, name: &CStr) -> Result<F, String> {
    // SAFETY: by the caller's promise.
    let symbol = unsafe { library.get::<F>(name) };
    symbol.map(|symbol| *symbol).map_err(|error| format!("NVIDIA's driver is too old: {error}"))
}

/// The primary context of a GPU: the one that inference uses as well.
pub(super) struct CudaContext {
    driver: &'static DriverCalls,
    device: c_int,
    context: ContextPointer,
}

// SAFETY: a context may be current to any number of threads (CUDA Driver API, 13.0, context management); no thread owns it.
unsafe impl Send for CudaContext {}
// SAFETY: as above.
unsafe impl Sync for CudaContext {}

impl CudaContext {
    /// Retains the context of the GPU with this index.
    ///
    /// FFmpeg does not retain it: it wants flags of its own, and refuses a context that inference made before.
    ///
    /// # Errors
    /// The reason why the GPU cannot be used.
    pub(super) fn retain(index: u32) -> Result<Self, String> {
        let driver = DriverCalls::get()?;
        let (mut device, mut context) = (0, ptr::null_mut());
        let ordinal = c_int::try_from(index).unwrap_or(c_int::MAX);
        // SAFETY: both calls write one value to a variable of ours.
        let retained = unsafe {
            driver.check("cuDeviceGet", (driver.device_get)(&raw mut device, ordinal)).and_then(|()| {
                driver.check("cuDevicePrimaryCtxRetain", (driver.context_retain)(&raw mut context, device))
            })
        };
        retained.map(|()| Self { driver, device, context }).map_err(|error| error.to_string())
    }

    /// Returns the number of the GPU's NVDEC engines.
    ///
    /// # Errors
    /// The GPU has none that decodes 4:2:0 of H.264.
    pub(super) fn nvdec_engines(&self) -> Result<u8, String> {
        let mut capabilities = DecoderCapabilities::asked(CODEC_H264, CHROMA_420, 0);
        let asked = self.with_current(|driver| {
            // SAFETY: the structure is that of cuvidGetDecoderCaps, with reserved fields of zero.
            let status = unsafe { (driver.decoder_capabilities)(&raw mut capabilities) };
            driver.check("cuvidGetDecoderCaps", status)
        });
        asked.map_err(|error| error.to_string())?;
        if capabilities.is_supported == 0 {
            return Err("this GPU has no NVDEC that decodes H.264".to_owned());
        }
        Ok(capabilities.engines.max(1))
    }

    /// Makes the context current to this thread for the calls of `f`.
    fn with_current<T>(&self, f: impl FnOnce(&DriverCalls) -> Result<T, CudaError>) -> Result<T, CudaError> {
        let driver = self.driver;
        // SAFETY: the context is retained as long as `self` lives.
        driver.check("cuCtxPushCurrent", unsafe { (driver.context_push)(self.context) })?;
        let outcome = f(driver);
        let mut popped = ptr::null_mut();
        // SAFETY: it removes what was pushed above from this thread's stack, and writes one pointer.
        let status = unsafe { (driver.context_pop)(&raw mut popped) };
        outcome.and_then(|value| driver.check("cuCtxPopCurrent", status).map(|()| value))
    }
}

impl Drop for CudaContext {
    fn drop(&mut self) {
        // SAFETY: retained once, released once. An error means that the context is gone already.
        let _gone = unsafe { (self.driver.context_release)(self.device) };
    }
}

/// A stream of a GPU: the order of the work of one decoder.
pub(in super::super) struct CudaStream {
    context: Arc<CudaContext>,
    stream: StreamPointer,
}

// SAFETY: a stream may be used by any thread to which its context is current.
unsafe impl Send for CudaStream {}
// SAFETY: as above; the driver locks each call.
unsafe impl Sync for CudaStream {}

impl CudaStream {
    /// Creates a stream.
    ///
    /// # Errors
    /// The driver's error.
    pub(super) fn new(context: &Arc<CudaContext>) -> Result<Self, CudaError> {
        let mut stream = ptr::null_mut();
        context.with_current(|driver| {
            // SAFETY: it writes one pointer to a variable of ours.
            let status = unsafe { (driver.stream_create)(&raw mut stream, NON_BLOCKING) };
            driver.check("cuStreamCreate", status)
        })?;
        Ok(Self { context: Arc::clone(context), stream })
    }

    /// Returns the driver's pointers to the context and to the stream.
    pub(super) fn pointers(&self) -> (*mut c_void, *mut c_void) {
        (self.context.context, self.stream)
    }

    /// Waits for the work of the stream.
    ///
    /// # Errors
    /// The error of that work, or a sticky error of any other work in this process.
    pub(super) fn wait(&self) -> Result<(), CudaError> {
        self.context.with_current(|driver| self.synchronize(driver))
    }

    /// Copies planes to host memory, without padding between their rows, and waits for them.
    ///
    /// # Safety
    /// The planes must be in memory of this GPU, and stay there until the call returns.
    ///
    /// # Errors
    /// The driver's error.
    pub(super) unsafe fn download<const N: usize>(
        &self,
        planes: [DevicePlane; N],
    ) -> Result<[Vec<u8>; N], CudaError> {
        let mut copies = planes.map(|plane| vec![0; plane.bytes * plane.rows]);
        self.context.with_current(|driver| {
            let mut copied = Ok(());
            for (plane, copy) in planes.iter().zip(&mut copies) {
                let request = Copy2d::to_host(plane, copy);
                // SAFETY: the source is there by the caller's promise, and `copy` has `bytes * rows` bytes.
                let status = unsafe { (driver.copy_2d)(&raw const request, self.stream) };
                copied = copied.and(driver.check("cuMemcpy2DAsync", status));
            }
            // Also after an error: a copy that began must end before its memory is freed.
            copied.and(self.synchronize(driver))
        })?;
        Ok(copies)
    }

    fn synchronize(&self, driver: &DriverCalls) -> Result<(), CudaError> {
        // SAFETY: the stream lives as long as `self`.
        driver.check("cuStreamSynchronize", unsafe { (driver.stream_synchronize)(self.stream) })
    }
}

impl fmt::Debug for CudaStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CudaStream(GPU {})", self.context.device)
    }
}

impl Drop for CudaStream {
    fn drop(&mut self) {
        // An error means that the stream is gone with its context.
        let _gone = self.context.with_current(|driver| {
            // SAFETY: created once, destroyed once.
            driver.check("cuStreamDestroy", unsafe { (driver.stream_destroy)(self.stream) })
        });
    }
}
