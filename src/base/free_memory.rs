//! Memory that the allocator keeps for later.
#![expect(unsafe_code, reason = "the standard library has no call for it")]

#[cfg(target_env = "gnu")]
unsafe extern "C" {
    fn malloc_trim(pad: usize) -> std::ffi::c_int;
}

/// Returns memory that was freed to the system.
///
/// glibc keeps freed buffers of up to 32 MiB, such as frames, once buffers of that size have come and gone: each thread's arena then
/// stays as large as it ever was. This takes milliseconds, so it is for the rare moment at which much is freed for long.
pub fn return_free_memory() {
    // Other C libraries return large buffers by themselves.
    #[cfg(target_env = "gnu")]
    // SAFETY: thread-safe, and changes nothing but the allocator's own bookkeeping (malloc_trim(3)).
    unsafe {
        malloc_trim(0);
    }
}
