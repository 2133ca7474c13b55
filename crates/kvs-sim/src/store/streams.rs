//! The store of all streams.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Clock;
use crate::error::ApiError;
use crate::faults::model::Faults;
use crate::faults::parse::FaultPlan;
use crate::identifiers::region::Region;
use crate::identifiers::stream_arn::StreamArn;
use crate::identifiers::stream_name::check_stream_name;
use crate::store::disk::{DataDirError, DataFolder};
use crate::store::identity::{StreamIdentity, StreamSettings};
use crate::store::stream::{KvsStream, StreamLimits};

/// All streams of the local KVS, by region and name.
#[derive(Debug)]
pub struct StreamStore {
    clock: Clock,
    limits: StreamLimits,
    folder: Option<DataFolder>,
    /// Region of streams and requests that state none.
    region: Region,
    streams: Mutex<StreamMap>,
    planned: Mutex<PlannedFaults>,
}

type StreamMap = BTreeMap<(Region, String), Arc<KvsStream>>;

/// The faults of streams that are created later.
#[derive(Debug, Default)]
struct PlannedFaults {
    all: Faults,
    named: BTreeMap<String, Faults>,
}

impl StreamStore {
    /// Opens a store, which keeps fragments in `data_dir` if one is given, and loads the streams in it.
    ///
    /// # Errors
    ///
    /// The folder cannot be read or written.
    pub fn open(clock: Clock, limits: StreamLimits, data_dir: Option<PathBuf>) -> Result<Self, DataDirError> {
        let folder = data_dir.map(DataFolder::open).transpose()?;
        let mut streams = StreamMap::new();
        for (identity, stream_folder, stored) in folder.as_ref().map_or(Ok(Vec::new()), DataFolder::load)? {
            let key = (identity.region(), identity.name.clone());
            streams.insert(key, KvsStream::new(identity, limits, clock.clone(), Some(stream_folder), stored));
        }
        let (streams, planned) = (Mutex::new(streams), Mutex::default());
        Ok(Self { clock, limits, folder, region: Region::default(), streams, planned })
    }

    /// Sets the store's own region, which is `us-east-1` otherwise. Streams that it has stay in theirs.
    #[must_use]
    pub fn in_region(self, region: Region) -> Self {
        Self { region, ..self }
    }

    /// Returns the region of streams that no request created, and of requests that are not signed.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Returns the clock by which fragments are stamped.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Creates a stream in the store's own region.
    ///
    /// # Errors
    ///
    /// The name is in use or not valid, a setting is out of range, or the folder cannot be written.
    pub fn create(&self, name: &str, settings: StreamSettings) -> Result<Arc<KvsStream>, ApiError> {
        self.create_in(&self.region, name, settings)
    }

    pub(crate) fn create_in(
        &self,
        region: &Region,
        name: &str,
        settings: StreamSettings,
    ) -> Result<Arc<KvsStream>, ApiError> {
        check_stream_name(name)?;
        settings.check()?;
        let key = (region.clone(), name.to_owned());
        // Held over the write to disk: of two requests with the same name, one creates the stream and its folder.
        let mut streams = self.lock();
        if streams.contains_key(&key) {
            return Err(ApiError::ResourceInUse { stream: name.to_owned() });
        }
        let identity = StreamIdentity::new(region, name, self.clock.now_ms(), settings);
        let folder = self.folder.as_ref().map(|folder| folder.create(&identity)).transpose();
        let folder = folder.map_err(|error| ApiError::Internal(error.to_string()))?;
        let stream = KvsStream::new(identity, self.limits, self.clock.clone(), folder, Vec::new());
        stream.set_faults(self.planned().of_stream(name));
        streams.insert(key, Arc::clone(&stream));
        Ok(stream)
    }

    /// Returns a stream by its name in the store's own region, or by its ARN.
    ///
    /// # Errors
    ///
    /// There is no such stream.
    pub fn stream(&self, name_or_arn: &str) -> Result<Arc<KvsStream>, ApiError> {
        match name_or_arn.parse::<StreamArn>() {
            Ok(arn) => self.stream_by_arn(&arn.region, name_or_arn, &arn),
            Err(()) => self.stream_by_name(&self.region, name_or_arn),
        }
    }

    /// Returns a stream by its name. Fails if the region has none.
    pub(crate) fn stream_by_name(&self, region: &Region, name: &str) -> Result<Arc<KvsStream>, ApiError> {
        let streams = self.lock();
        if let Some(stream) = streams.get(&(region.clone(), name.to_owned())) {
            return Ok(Arc::clone(stream));
        }
        let stream = name.to_owned();
        // AWS reports a stream of another region as missing. The local KVS does, too, but names the region: it is the usual
        // mistake of a first start.
        match streams.keys().find(|(_, other)| other == name) {
            Some((has, _)) => Err(ApiError::OtherRegion { stream, region: region.clone(), has: has.clone() }),
            None => Err(ApiError::ResourceNotFound { stream }),
        }
    }

    /// Returns a stream by its ARN, of which `text` is the original. Fails if there is none, or if its region is another.
    pub(crate) fn stream_by_arn(
        &self,
        region: &Region,
        text: &str,
        arn: &StreamArn,
    ) -> Result<Arc<KvsStream>, ApiError> {
        let missing = || ApiError::ResourceNotFound { stream: text.to_owned() };
        let stream = self.lock().get(&(arn.region.clone(), arn.name.clone())).cloned();
        // The whole text is compared: an ARN with another time of creation is that of a stream that was deleted.
        let stream = stream.filter(|stream| stream.identity().arn == text).ok_or_else(missing)?;
        if arn.region != *region {
            let (stream, has) = (text.to_owned(), arn.region.clone());
            return Err(ApiError::OtherRegion { stream, region: region.clone(), has });
        }
        Ok(stream)
    }

    /// Returns the stream of that name, which is created with 24 hours of retention if it does not exist.
    ///
    /// # Errors
    ///
    /// The same as of [`create`](Self::create), apart from a name that is in use.
    pub fn stream_or_create(&self, name: &str) -> Result<Arc<KvsStream>, ApiError> {
        match self.create(name, StreamSettings { retention_hours: 24, ..StreamSettings::default() }) {
            // Creating first and looking up second leaves no gap in which another task could create it.
            Err(ApiError::ResourceInUse { .. }) => self.stream(name),
            created => created,
        }
    }

    /// Returns all streams in the order of their regions and names.
    pub fn streams(&self) -> Vec<Arc<KvsStream>> {
        self.lock().values().cloned().collect()
    }

    /// Removes a stream with all its fragments, and ends its connections.
    ///
    /// # Errors
    ///
    /// There is no such stream, it has another version, or its folder cannot be removed.
    pub async fn delete(&self, name_or_arn: &str, version: Option<&str>) -> Result<(), ApiError> {
        let stream = self.stream(name_or_arn)?;
        let identity = stream.identity();
        version.map_or(Ok(()), |version| identity.check_version(version))?;
        // Removed from the map first, so that no request finds a stream whose folder is being removed.
        self.lock().remove(&(identity.region(), identity.name.clone()));
        stream.delete();
        match stream.folder() {
            Some(folder) => folder.remove().await.map_err(|error| ApiError::Internal(error.to_string())),
            None => Ok(()),
        }
    }

    /// Replaces the faults of all streams, including those that are created later, and all plans.
    pub fn set_faults(&self, faults: &Faults) {
        *self.planned() = PlannedFaults { all: faults.clone(), named: BTreeMap::new() };
        for stream in self.streams() {
            stream.set_faults(faults.clone());
        }
    }

    /// Returns the faults that a new stream begins with, unless a plan names it.
    pub fn faults_of_new(&self) -> Faults {
        self.planned().all.clone()
    }

    /// Gives all streams, including those that are created later, the faults of the plans.
    pub(crate) fn plan_faults(&self, plans: Vec<FaultPlan>) {
        let mut planned = PlannedFaults::default();
        for FaultPlan { stream, mut faults } in plans {
            let target = match stream {
                Some(name) => planned.named.entry(name).or_default(),
                None => &mut planned.all,
            };
            target.0.append(&mut faults.0);
        }
        for stream in self.streams() {
            stream.set_faults(planned.of_stream(&stream.identity().name));
        }
        *self.planned() = planned;
    }

    fn planned(&self) -> MutexGuard<'_, PlannedFaults> {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, StreamMap> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PlannedFaults {
    /// Returns the faults of all streams, followed by those of this one.
    fn of_stream(&self, name: &str) -> Faults {
        let named = self.named.get(name).into_iter().flat_map(|faults| &faults.0);
        Faults(self.all.0.iter().chain(named).cloned().collect())
    }
}
