//! Plans and loads as one packed attribute.

use std::collections::BTreeMap;

use ::sharing::{CameraKey, CameraLoads, PlanEntry, PlanTask, ResourceAmounts};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::row_reader::RowReader;
use crate::aws::AwsFailure;
use crate::checkpoint::{pack, unpack};

/// Version of the packed form.
const VERSION: u64 = 1;

/// A value per camera, as it is packed.
#[derive(Serialize, Deserialize)]
struct PackedCameras<T> {
    version: u64,
    cameras: BTreeMap<String, T>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredTask {
    Run,
    Warm,
    Release,
}

/// Packs the cameras of a plan: epoch and task of each.
pub(super) fn pack_plan(cameras: &BTreeMap<CameraKey, PlanEntry>) -> Result<Vec<u8>, AwsFailure> {
    pack_cameras(cameras, |PlanEntry { epoch, task }| {
        let task = match task {
            PlanTask::Run => StoredTask::Run,
            PlanTask::Warm => StoredTask::Warm,
            PlanTask::Release => StoredTask::Release,
        };
        (*epoch, task)
    })
}

/// Reads what [`pack_plan`] packed.
pub(super) fn plan_of(row: RowReader<'_>, name: &str) -> Result<BTreeMap<CameraKey, PlanEntry>, AwsFailure> {
    cameras_of(row, name, |(epoch, task)| {
        let task = match task {
            StoredTask::Run => PlanTask::Run,
            StoredTask::Warm => PlanTask::Warm,
            StoredTask::Release => PlanTask::Release,
        };
        PlanEntry { epoch, task }
    })
}

/// Packs the cost of each camera: GPU, processor and memory.
pub(super) fn pack_loads(loads: &CameraLoads) -> Result<Vec<u8>, AwsFailure> {
    pack_cameras(loads, |ResourceAmounts { gpu_milli, cpu_milli, memory_mib }| {
        [*gpu_milli, *cpu_milli, *memory_mib]
    })
}

/// Reads what [`pack_loads`] packed.
pub(super) fn loads_of(row: RowReader<'_>, name: &str) -> Result<CameraLoads, AwsFailure> {
    cameras_of(row, name, |[gpu_milli, cpu_milli, memory_mib]: [u64; 3]| ResourceAmounts {
        gpu_milli,
        cpu_milli,
        memory_mib,
    })
}

fn pack_cameras<V, T: Serialize>(
    cameras: &BTreeMap<CameraKey, V>,
    stored: impl Fn(&V) -> T,
) -> Result<Vec<u8>, AwsFailure> {
    let cameras = cameras.iter().map(|(camera, value)| (camera.as_str().to_owned(), stored(value)));
    let json = serde_json::to_vec(&PackedCameras { version: VERSION, cameras: cameras.collect() });
    let packed = json.map_err(std::io::Error::from).and_then(|json| pack(&json));
    packed.map_err(|why| AwsFailure::new("not_sent", &why.to_string()))
}

fn cameras_of<V, T: DeserializeOwned>(
    row: RowReader<'_>,
    name: &str,
    value: impl Fn(T) -> V,
) -> Result<BTreeMap<CameraKey, V>, AwsFailure> {
    let unreadable = |why: &dyn std::error::Error| row.unreadable(name, &format!("cannot be read: {why}"));
    let json = unpack(row.bytes(name)?).map_err(|why| unreadable(&why))?;
    let packed: PackedCameras<T> = serde_json::from_slice(&json).map_err(|why| unreadable(&why))?;
    if packed.version != VERSION {
        let why = format!("has version {}, this program reads {VERSION}", packed.version);
        return Err(row.unreadable(name, &why));
    }
    Ok(packed.cameras.into_iter().map(|(camera, stored)| (CameraKey::new(&camera), value(stored))).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::sharing::pool_table::row_update::binary;

    #[test]
    fn what_another_version_packed_is_unreadable() {
        let read = |json: &str| {
            let row = HashMap::from([("entries".to_owned(), binary(pack(json.as_bytes()).unwrap()))]);
            plan_of(RowReader::new("worker-plan#1", &row), "entries")
        };
        assert_eq!(read(r#"{"version":1,"cameras":{"door":[7,"warm"]}}"#).unwrap().len(), 1);
        for (json, words) in [
            (r#"{"version":2,"cameras":{}}"#, "has version 2, this program reads 1"),
            (r#"{"version":1,"cameras":{"door":[7,"fly"]}}"#, "cannot be read: unknown variant `fly`"),
        ] {
            let failure = read(json).unwrap_err();
            assert!(failure.code == "unreadable" && failure.text.contains(words), "{failure:?}");
        }
    }
}
