//! Critical Xid errors of the GPUs, from NVML's events: counted and logged when the driver reports them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use metrics::counter;
use nvml_wrapper::EventSet;
use nvml_wrapper::Nvml;
use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::event::EventData;

use super::gpu::load_nvml;
use super::{Metric, MetricKind};

/// The time of one wait for events, and so the delay of the end of the thread.
const WAIT_MS: u32 = 1000;

const XIDS: &str = "kvs_infer_gpu_xid_errors_total";

/// The metrics of this file.
pub(super) const METRICS: &[Metric] = &[Metric {
    name: XIDS,
    kind: MetricKind::Counter,
    labels: &["gpu"],
    help: "Critical Xid errors that the driver reported; the log has their numbers. Absent without a GPU that reports them.",
}];

/// The thread `gpu-faults`, which ends without a GPU that reports events, when the driver fails, or after this handle was dropped.
///
/// The drop does not wait for it: the driver may hang.
pub(crate) struct GpuFaultWatch {
    is_over: Arc<AtomicBool>,
}

impl GpuFaultWatch {
    /// Starts the thread.
    pub(crate) fn start() -> Self {
        let is_over = Arc::<AtomicBool>::default();
        let over = Arc::clone(&is_over);
        let spawned = thread::Builder::new().name("gpu-faults".to_owned()).spawn(move || watch(&over));
        if let Err(error) = spawned {
            tracing::warn!(stage = STAGE, %error, "GPU faults are not watched: no thread");
        }
        Self { is_over }
    }
}

impl Drop for GpuFaultWatch {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

const STAGE: &str = "telemetry";

fn watch(is_over: &AtomicBool) {
    if let Err(error) = load_nvml().and_then(|nvml| watch_driver(&nvml, is_over)) {
        // A host without a GPU is no fault, and a lost GPU has been reported as one.
        tracing::debug!(stage = STAGE, %error, "GPU faults are not watched");
    }
}

fn watch_driver(nvml: &Nvml, is_over: &AtomicBool) -> Result<(), NvmlError> {
    let Some(events) = fault_events(nvml)? else { return Ok(()) };
    while !is_over.load(Ordering::Relaxed) {
        match events.wait(WAIT_MS) {
            Ok(event) => report(&event),
            Err(NvmlError::Timeout) => {}
            // Each further call would return it at once.
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Returns the set of the faults of all GPUs that answer; `None`: no GPU does.
fn fault_events(nvml: &Nvml) -> Result<Option<EventSet<'_>>, NvmlError> {
    let mut events = None;
    for index in 0..nvml.device_count()? {
        // One that has fallen off the bus has an index and reports nothing more.
        let Ok(gpu) = nvml.device_by_index(index) else { continue };
        let set = events.take().map_or_else(|| nvml.create_event_set(), Ok)?;
        events = Some(gpu.register_events(EventTypes::CRITICAL_XID_ERROR, set).map_err(|error| error.error)?);
        counter!(XIDS, "gpu" => index.to_string()).increment(0);
    }
    Ok(events)
}

fn report(event: &EventData<'_>) {
    let Some(xid) = &event.event_data else { return };
    let gpu = event.device.index().map_or_else(|_| "unknown".to_owned(), |index| index.to_string());
    // NVML's number of an unknown error.
    let xid = match xid {
        XidError::Value(number) => *number,
        XidError::Unknown => 999,
    };
    tracing::error!(stage = STAGE, gpu, xid, "GPU reported an Xid error");
    counter!(XIDS, "gpu" => gpu).increment(1);
}
