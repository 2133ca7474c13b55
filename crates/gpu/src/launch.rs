//! Arguments of kernels, laid out as the structs of `kernels.cu`.

use super::driver::DeviceAddress;

/// Frames per launch; `MAX_FRAMES` of `kernels.cu`.
pub const MAX_FRAMES: usize = 16;

/// The kernels, in the order of [`Kernel::NAMES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernel {
    PaintF32,
    PaintF16,
    Candidates,
    LumaGrid,
    Mask,
}

impl Kernel {
    /// The names in `kernels.ptx`.
    pub(crate) const NAMES: [&std::ffi::CStr; 5] =
        [c"paint_f32", c"paint_f16", c"candidates", c"luma_grid", c"mask"];
}

/// The bytes of a kernel's arguments. Each number stands at a multiple of its size, as in C.
#[derive(Clone, Debug, Default)]
pub(crate) struct ArgumentBytes(Vec<u8>);

impl ArgumentBytes {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn address(&mut self, value: DeviceAddress) -> &mut Self {
        self.put(&value.to_ne_bytes())
    }

    pub(crate) fn long(&mut self, value: i64) -> &mut Self {
        self.put(&value.to_ne_bytes())
    }

    pub(crate) fn int(&mut self, value: i32) -> &mut Self {
        self.put(&value.to_ne_bytes())
    }

    pub(crate) fn float(&mut self, value: f32) -> &mut Self {
        self.put(&value.to_ne_bytes())
    }

    pub(crate) fn floats(&mut self, values: &[f32]) -> &mut Self {
        for value in values {
            self.float(*value);
        }
        self
    }

    /// Fills up with zeros to `bytes`: the unused slots of an array.
    pub(crate) fn fill_to(&mut self, bytes: usize) -> &mut Self {
        self.0.resize(self.0.len().max(bytes), 0);
        self
    }

    fn put(&mut self, number: &[u8]) -> &mut Self {
        self.0.resize(self.0.len().next_multiple_of(number.len()), 0);
        self.0.extend_from_slice(number);
        self
    }
}

/// Returns `value` as a kernel's int; sizes are checked before, so that none is cut.
pub(crate) fn int(value: usize) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// Blocks of `threads` that cover `items`.
pub(crate) fn blocks(items: usize, threads: u32) -> u32 {
    u32::try_from(items.div_ceil(threads as usize)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::ArgumentBytes;

    #[test]
    fn numbers_are_aligned_as_in_c() {
        let mut bytes = ArgumentBytes::default();
        bytes.int(1).address(2).float(0.0).int(3).fill_to(32);
        let words: Vec<u32> = bytes
            .as_bytes()
            .chunks_exact(4)
            .map(|word| u32::from_ne_bytes(word.try_into().unwrap()))
            .collect();
        assert_eq!(words, [1, 0, 2, 0, 0, 3, 0, 0]);
    }
}
