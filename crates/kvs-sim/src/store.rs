//! All streams.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Clock;
use crate::disk::DataFolder;
use crate::errors::{ApiError, DiskError};
use crate::fault_words::FaultPlan;
use crate::faults::Faults;
use crate::stream::{Stream, StreamIdentity, StreamLimits, StreamSettings};

/// All streams of the local KVS, by name.
#[derive(Debug)]
pub struct Store {
    clock: Clock,
    limits: StreamLimits,
    folder: Option<DataFolder>,
    streams: Mutex<BTreeMap<String, Arc<Stream>>>,
    planned: Mutex<Planned>,
}

/// What goes wrong with streams that are still to be made.
#[derive(Debug, Default)]
struct Planned {
    all: Faults,
    named: BTreeMap<String, Faults>,
}

const ARN_PREFIX: &str = "arn:aws:kinesisvideo:us-east-1:123456789012:stream/";
const LONGEST_NAME: usize = 256;
const LONGEST_RETENTION_HOURS: u32 = 87_600;

impl Store {
    /// A store that keeps fragments in `data_dir` where one is given, and begins with what is there.
    ///
    /// Errors: the folder cannot be read or written.
    pub fn open(clock: Clock, limits: StreamLimits, data_dir: Option<PathBuf>) -> Result<Self, DiskError> {
        let folder = data_dir.map(DataFolder::open).transpose()?;
        let mut streams = BTreeMap::new();
        for (identity, stream_folder, kept) in folder.as_ref().map_or(Ok(Vec::new()), DataFolder::load)? {
            let name = identity.name.clone();
            streams.insert(name, Stream::new(identity, limits, clock.clone(), Some(stream_folder), kept));
        }
        let (streams, planned) = (Mutex::new(streams), Mutex::default());
        Ok(Self { clock, limits, folder, streams, planned })
    }

    /// The clock by which fragments are stamped.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Makes a stream.
    ///
    /// Errors: the name is taken or no name, the retention is out of range, the folder cannot be written.
    pub fn create(&self, name: &str, settings: StreamSettings) -> Result<Arc<Stream>, ApiError> {
        check_name(name)?;
        check_retention(settings.retention_hours)?;
        let mut streams = self.lock();
        if streams.contains_key(name) {
            return Err(ApiError::ResourceInUse { stream: name.to_owned() });
        }
        let identity = self.identity(name, settings);
        let folder = self.folder.as_ref().map(|folder| folder.create(&identity)).transpose();
        let folder = folder.map_err(|error| ApiError::Internal(error.to_string()))?;
        let stream = Stream::new(identity, self.limits, self.clock.clone(), folder, Vec::new());
        stream.set_faults(self.planned().of(name));
        streams.insert(name.to_owned(), Arc::clone(&stream));
        Ok(stream)
    }

    /// A stream by its name or its ARN.
    ///
    /// Errors: there is none.
    pub fn stream(&self, name_or_arn: &str) -> Result<Arc<Stream>, ApiError> {
        let streams = self.lock();
        let found = match name_or_arn.starts_with("arn:") {
            true => streams.values().find(|stream| stream.identity().arn == name_or_arn),
            false => streams.get(name_or_arn),
        };
        let missing = || ApiError::ResourceNotFound { stream: name_or_arn.to_owned() };
        found.cloned().ok_or_else(missing)
    }

    /// The stream of that name, made with 24 hours of retention where there is none.
    ///
    /// Errors: as of [`create`](Self::create).
    pub fn stream_or_create(&self, name: &str) -> Result<Arc<Stream>, ApiError> {
        match self.create(name, StreamSettings { retention_hours: 24, ..StreamSettings::default() }) {
            Err(ApiError::ResourceInUse { .. }) => self.stream(name),
            made => made,
        }
    }

    /// All streams in the order of their names.
    pub fn streams(&self) -> Vec<Arc<Stream>> {
        self.lock().values().cloned().collect()
    }

    /// Removes a stream with all its fragments; its connections end.
    ///
    /// Errors: there is none, it has another version, its folder cannot be removed.
    pub async fn delete(&self, name_or_arn: &str, version: Option<&str>) -> Result<(), ApiError> {
        let stream = self.stream(name_or_arn)?;
        let identity = stream.identity();
        if version.is_some_and(|version| version != identity.version) {
            let (stream, version) = (identity.name.clone(), identity.version.clone());
            return Err(ApiError::VersionMismatch { stream, version });
        }
        self.lock().remove(&identity.name);
        stream.delete();
        match stream.folder() {
            Some(folder) => folder.remove().await.map_err(|error| ApiError::Internal(error.to_string())),
            None => Ok(()),
        }
    }

    /// The faults of all streams there are and of those to come, in place of those before and of all plans.
    pub fn set_faults(&self, faults: &Faults) {
        *self.planned() = Planned { all: faults.clone(), named: BTreeMap::new() };
        for stream in self.streams() {
            stream.set_faults(faults.clone());
        }
    }

    /// What a stream begins with that is made from now on, unless a plan names it.
    pub fn faults_of_new(&self) -> Faults {
        self.planned().all.clone()
    }

    /// Gives all streams there are, and those to come, the faults that the plans have for them.
    pub(crate) fn plan_faults(&self, plans: Vec<FaultPlan>) {
        let mut planned = Planned::default();
        for FaultPlan { stream, mut faults } in plans {
            let of = match stream {
                Some(name) => planned.named.entry(name).or_default(),
                None => &mut planned.all,
            };
            of.0.append(&mut faults.0);
        }
        for stream in self.streams() {
            stream.set_faults(planned.of(&stream.identity().name));
        }
        *self.planned() = planned;
    }

    fn planned(&self) -> MutexGuard<'_, Planned> {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn identity(&self, name: &str, settings: StreamSettings) -> StreamIdentity {
        let created_ms = self.clock.now_ms();
        StreamIdentity {
            name: name.to_owned(),
            arn: format!("{ARN_PREFIX}{name}/{created_ms}"),
            created_ms,
            version: format!("{:016x}", rand::random::<u64>()),
            settings,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Stream>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Planned {
    /// Those of all streams, then those of this one.
    fn of(&self, name: &str) -> Faults {
        let named = self.named.get(name).into_iter().flat_map(|faults| &faults.0);
        Faults(self.all.0.iter().chain(named).cloned().collect())
    }
}

pub(crate) fn check_name(name: &str) -> Result<(), ApiError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(allowed) {
        let shown: String = name.chars().take(LONGEST_NAME).collect();
        return Err(ApiError::InvalidArgument(format!(
            "StreamName \"{shown}\": 1 to {LONGEST_NAME} of the characters a-z A-Z 0-9 _ . - are needed"
        )));
    }
    Ok(())
}

fn check_retention(hours: u32) -> Result<(), ApiError> {
    if hours > LONGEST_RETENTION_HOURS {
        return Err(ApiError::InvalidArgument(format!(
            "DataRetentionInHours {hours}: 0 to {LONGEST_RETENTION_HOURS} hours are possible"
        )));
    }
    Ok(())
}
