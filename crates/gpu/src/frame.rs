//! Pictures in device memory.

use super::context::{CudaContext, CudaStream, DeviceBuffer, DeviceSlice, InFlight, PinnedBuffer};
use super::driver::{DeviceAddress, DeviceRows};
use super::error::GpuError;
use super::launch::{ArgumentBytes, int};

/// The largest width and height of a picture, px. With it, every offset in a plane fits a kernel's int.
pub const MAX_FRAME_SIDE_PX: u32 = 16_384;

/// Rows begin at multiples of this many bytes, so that a warp reads whole sectors.
const ROW_ALIGNMENT: usize = 256;

/// The place of the chroma samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChromaLayout {
    /// NV12: one plane in which U and V alternate. NVDEC's.
    Interleaved,
    /// Two planes, U and V, as decoders on the CPU give them.
    Planar,
}

/// The planes of an 8-bit YUV 4:2:0 picture in host memory, Y, U, V. Chroma planes are `ceil(width/2) x ceil(height/2)`.
#[derive(Clone, Copy, Debug)]
pub struct FramePlanes<'a> {
    /// Y, U, V.
    pub planes: [&'a [u8]; 3],
    /// Bytes from one row to the next, by plane.
    pub strides: [usize; 3],
}

/// An 8-bit YUV 4:2:0 picture in device memory that is ours.
#[derive(Debug)]
pub struct DeviceFrame {
    buffer: DeviceBuffer,
    size_px: (u32, u32),
    layout: ChromaLayout,
}

impl DeviceFrame {
    /// Allocates a picture of unknown content.
    ///
    /// # Errors
    ///
    /// A side is 0 or above [`MAX_FRAME_SIDE_PX`], or the driver's.
    pub fn new(context: &CudaContext, size_px: (u32, u32), layout: ChromaLayout) -> Result<Self, GpuError> {
        let sides = 1..=MAX_FRAME_SIDE_PX;
        if !sides.contains(&size_px.0) || !sides.contains(&size_px.1) {
            return Err(GpuError::Argument("a picture on the GPU has sides of 1 to 16384 px"));
        }
        let [_, chroma, _] = plane_offsets(size_px, layout);
        let chroma_planes = if layout == ChromaLayout::Planar { 2 } else { 1 };
        let bytes = chroma + chroma_planes * plane_bytes(size_px, layout);
        Ok(Self { buffer: DeviceBuffer::new(context, bytes)?, size_px, layout })
    }

    /// Returns width and height, px.
    #[must_use]
    pub fn size_px(&self) -> (u32, u32) {
        self.size_px
    }

    /// Returns the bytes of the picture, which a [`PinnedBuffer`] needs to carry it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.all().bytes
    }

    /// Returns the context of the picture.
    #[must_use]
    pub fn context(&self) -> &CudaContext {
        self.buffer.context()
    }

    /// Copies a picture of the same size from host memory, by way of `staging`.
    ///
    /// # Errors
    ///
    /// A plane is too short, `staging` is shorter than [`Self::bytes`], or the driver's.
    pub fn upload(
        &self,
        stream: &CudaStream,
        from: &FramePlanes<'_>,
        mut staging: PinnedBuffer,
    ) -> Result<InFlight<PinnedBuffer>, GpuError> {
        if !self.fits(from) {
            return Err(GpuError::Argument(
                "a plane of a picture for the GPU is shorter than its size requires",
            ));
        }
        if staging.len() < self.bytes() {
            return Err(GpuError::Argument("the buffer for a picture is shorter than the picture"));
        }
        self.pack(from, &mut staging);
        stream.upload(staging, self.all(), self.bytes())
    }

    /// Copies the picture into `staging`, for [`Self::unpack`].
    ///
    /// # Errors
    ///
    /// `staging` is shorter than [`Self::bytes`], or the driver's.
    pub fn download(
        &self,
        stream: &CudaStream,
        staging: PinnedBuffer,
    ) -> Result<InFlight<PinnedBuffer>, GpuError> {
        stream.download(self.all(), staging)
    }

    /// Returns Y, U and V of what [`Self::download`] gave, without padding between rows.
    #[must_use]
    pub fn unpack(&self, staging: &[u8]) -> [Vec<u8>; 3] {
        let ((columns, rows), (half_columns, half_rows)) = self.plane_sizes();
        let [luma, u, v] = plane_offsets(self.size_px, self.layout);
        let [luma_pitch, chroma_pitch] = pitches(self.size_px, self.layout);
        let step = self.chroma_step();
        let plane = |offset: usize, pitch: usize, step: usize, columns: usize, rows: usize| {
            let lines = staging[offset..].chunks(pitch).take(rows);
            lines.flat_map(|line| line.iter().step_by(step).take(columns).copied()).collect()
        };
        [
            plane(luma, luma_pitch, 1, columns, rows),
            plane(u, chroma_pitch, step, half_columns, half_rows),
            plane(v, chroma_pitch, step, half_columns, half_rows),
        ]
    }

    /// Copies the luma and the interleaved chroma of an NV12 picture of the same size from other memory of the GPU, such as a decoder's.
    ///
    /// # Errors
    ///
    /// This picture is not NV12, or the planes have another size, or the driver's.
    pub fn copy_from(&self, stream: &CudaStream, planes: &[DeviceRows; 2]) -> Result<(), GpuError> {
        let ((columns, rows), (half_columns, half_rows)) = self.plane_sizes();
        let [luma_at, chroma_at, _] = plane_offsets(self.size_px, self.layout);
        let [luma_pitch, chroma_pitch] = pitches(self.size_px, self.layout);
        let targets =
            [(luma_at, luma_pitch, columns, rows), (chroma_at, chroma_pitch, 2 * half_columns, half_rows)];
        for (from, (at, to_pitch, row_bytes, rows)) in planes.iter().zip(targets) {
            let is_same = from.row_bytes == row_bytes && from.rows == rows && from.pitch >= row_bytes;
            if self.layout != ChromaLayout::Interleaved || !is_same {
                return Err(GpuError::Argument("a decoder's picture for the GPU is not NV12 of this size"));
            }
            stream.copy_rows(from, self.all().address + at as DeviceAddress, to_pitch)?;
        }
        Ok(())
    }

    /// Copies the picture to host memory and waits for it; returns Y, U and V without padding between rows.
    ///
    /// # Errors
    ///
    /// The driver's.
    pub fn download_now(&self, stream: &CudaStream) -> Result<[Vec<u8>; 3], GpuError> {
        let mut bytes = vec![0; self.bytes()];
        stream.download_now(self.all(), &mut bytes)?;
        Ok(self.unpack(&bytes))
    }

    /// Appends `PictureArgs`.
    pub(crate) fn write_arguments(&self, to: &mut ArgumentBytes) {
        let address = self.all().address;
        for offset in plane_offsets(self.size_px, self.layout) {
            to.address(address + offset as DeviceAddress);
        }
        let [luma_pitch, chroma_pitch] = pitches(self.size_px, self.layout);
        to.int(int(luma_pitch)).int(int(chroma_pitch)).int(int(self.chroma_step()));
        to.int(int(self.size_px.0 as usize)).int(int(self.size_px.1 as usize)).int(0);
    }

    fn all(&self) -> DeviceSlice {
        self.buffer.all()
    }

    fn chroma_step(&self) -> usize {
        match self.layout {
            ChromaLayout::Interleaved => 2,
            ChromaLayout::Planar => 1,
        }
    }

    /// Columns and rows of the luma, and of each chroma plane.
    fn plane_sizes(&self) -> ((usize, usize), (usize, usize)) {
        let (width, height) = (self.size_px.0 as usize, self.size_px.1 as usize);
        ((width, height), (width.div_ceil(2), height.div_ceil(2)))
    }

    fn fits(&self, from: &FramePlanes<'_>) -> bool {
        let (luma, chroma) = self.plane_sizes();
        [luma, chroma, chroma].into_iter().zip(from.planes.iter().zip(from.strides)).all(
            // The last row may end without the padding of the others.
            |((columns, rows), (plane, stride))| {
                stride >= columns && plane.len() >= stride.saturating_mul(rows - 1).saturating_add(columns)
            },
        )
    }

    fn pack(&self, from: &FramePlanes<'_>, staging: &mut [u8]) {
        let (luma, chroma) = self.plane_sizes();
        let offsets = plane_offsets(self.size_px, self.layout);
        let [luma_pitch, chroma_pitch] = pitches(self.size_px, self.layout);
        let pitches = [luma_pitch, chroma_pitch, chroma_pitch];
        for (i, (columns, rows)) in [luma, chroma, chroma].into_iter().enumerate() {
            for row in 0..rows {
                let line = &from.planes[i][row * from.strides[i]..][..columns];
                let to = &mut staging[offsets[i] + row * pitches[i]..];
                if i > 0 && self.layout == ChromaLayout::Interleaved {
                    to.iter_mut().step_by(2).zip(line).for_each(|(to, sample)| *to = *sample);
                } else {
                    to[..columns].copy_from_slice(line);
                }
            }
        }
    }
}

/// Bytes from one row to the next: luma, chroma.
fn pitches(size_px: (u32, u32), layout: ChromaLayout) -> [usize; 2] {
    let (width, half) = (size_px.0 as usize, size_px.0.div_ceil(2) as usize);
    let chroma = if layout == ChromaLayout::Interleaved { 2 * half } else { half };
    [width, chroma].map(|bytes| bytes.next_multiple_of(ROW_ALIGNMENT))
}

/// Bytes of one chroma plane; of both, if they are one.
fn plane_bytes(size_px: (u32, u32), layout: ChromaLayout) -> usize {
    pitches(size_px, layout)[1] * size_px.1.div_ceil(2) as usize
}

/// The first samples of Y, U and V.
fn plane_offsets(size_px: (u32, u32), layout: ChromaLayout) -> [usize; 3] {
    let chroma = pitches(size_px, layout)[0] * size_px.1 as usize;
    let v = match layout {
        ChromaLayout::Interleaved => chroma + 1,
        ChromaLayout::Planar => chroma + plane_bytes(size_px, layout),
    };
    [0, chroma, v]
}
