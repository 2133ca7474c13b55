//! A GPU whose context is broken: every later call fails, and the service learns of it.

use std::sync::Arc;
use std::sync::mpsc::channel;

use gpu::{
    ChromaLayout, CudaContext, CudaDriver, CudaStream, DeviceFrame, DeviceSlice, DeviceTables, ElementType,
    GpuError, PaintJob, paint,
};
use kvs_infer::detect::{
    InputEncoding, Letterbox, Thresholds, channel_encoding, color_factors, resample_tables,
};
use kvs_infer::media::{Color, Matrix};

use super::clip::frames;
use super::on_gpu;

/// Paints a picture at an address.
fn paint_at(context: &CudaContext, out: DeviceSlice) -> Result<(), GpuError> {
    let (stream, size_px) = (CudaStream::new(context)?, (64, 64));
    let frame = DeviceFrame::new(context, size_px, ChromaLayout::Planar)?;
    let tables = DeviceTables::upload(&stream, &resample_tables(Letterbox::fit(size_px, size_px).unwrap()))?;
    let color = color_factors(Color { matrix: Matrix::Bt709, full_range: false });
    let (job, encoding) =
        (PaintJob { frame: &frame, tables: &tables, color }, channel_encoding(&InputEncoding::default()));
    paint(&stream, &[job], &encoding, ElementType::F32, out)?;
    stream.synchronize()
}

/// The last of all tests here, in a process of its own: nothing works on the GPU afterwards.
#[tokio::test]
#[ignore = "needs a GPU: make gpu-test"]
async fn an_illegal_address_is_a_lost_gpu() {
    let detector = on_gpu("street");
    let frame = frames("street", 50).remove(0);
    let thresholds = Thresholds { conf: 0.4, nms_iou: 0.45 };
    detector.detect(Arc::clone(&frame), thresholds).await.unwrap();
    let (sender, reasons) = channel();
    detector.on_device_lost(move |reason| sender.send(reason).unwrap());
    // The primary context of the process, which the model shares.
    let context = CudaContext::retain(&CudaDriver::load().unwrap(), 0).unwrap();
    let caused = paint_at(&context, DeviceSlice { address: 0x10, bytes: 1 << 20 }).unwrap_err();
    assert!(caused.is_sticky(), "{caused}");
    let failed = detector.detect(frame, thresholds).await.unwrap_err();
    assert!(failed.to_string().contains("CUDA failure"), "{failed}");
    println!("figure: {}", reasons.recv().unwrap());
}
