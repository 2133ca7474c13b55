//! All streams.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Clock;
use crate::error::ApiError;
use crate::faults::model::Faults;
use crate::faults::parse::FaultPlan;
use crate::identifiers::region::Region;
use crate::identifiers::stream_arn::StreamArn;
use crate::identifiers::stream_name::check_name;
use crate::store::disk::{DataFolder, DiskError};
use crate::store::identity::{StreamIdentity, StreamSettings};
use crate::store::stream::{Stream, StreamLimits};

/// All streams of the local KVS, by region and name.
#[derive(Debug)]
pub struct Store {
    clock: Clock,
    limits: StreamLimits,
    folder: Option<DataFolder>,
    /// Where streams are made and looked for unless a request says otherwise.
    region: Region,
    streams: Mutex<Streams>,
    planned: Mutex<Planned>,
}

type Streams = BTreeMap<(Region, String), Arc<Stream>>;

/// What goes wrong with streams that are still to be made.
#[derive(Debug, Default)]
struct Planned {
    all: Faults,
    named: BTreeMap<String, Faults>,
}

impl Store {
    /// A store that keeps fragments in `data_dir` where one is given, and begins with what is there.
    ///
    /// Errors: the folder cannot be read or written.
    pub fn open(clock: Clock, limits: StreamLimits, data_dir: Option<PathBuf>) -> Result<Self, DiskError> {
        let folder = data_dir.map(DataFolder::open).transpose()?;
        let mut streams = Streams::new();
        for (identity, stream_folder, kept) in folder.as_ref().map_or(Ok(Vec::new()), DataFolder::load)? {
            let place = (identity.region(), identity.name.clone());
            streams.insert(place, Stream::new(identity, limits, clock.clone(), Some(stream_folder), kept));
        }
        let (streams, planned) = (Mutex::new(streams), Mutex::default());
        Ok(Self { clock, limits, folder, region: Region::default(), streams, planned })
    }

    /// The same store, whose own region is another than `us-east-1`. Streams that it has stay where they are.
    #[must_use]
    pub fn in_region(self, region: Region) -> Self {
        Self { region, ..self }
    }

    /// The region of streams that no request made, and of requests that are not signed.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// The clock by which fragments are stamped.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Makes a stream in the store's own region.
    ///
    /// Errors: the name is taken or no name, a setting is out of range, the folder cannot be written.
    pub fn create(&self, name: &str, settings: StreamSettings) -> Result<Arc<Stream>, ApiError> {
        self.create_in(&self.region, name, settings)
    }

    pub(crate) fn create_in(
        &self,
        region: &Region,
        name: &str,
        settings: StreamSettings,
    ) -> Result<Arc<Stream>, ApiError> {
        check_name(name)?;
        settings.check()?;
        let place = (region.clone(), name.to_owned());
        let mut streams = self.lock();
        if streams.contains_key(&place) {
            return Err(ApiError::ResourceInUse { stream: name.to_owned() });
        }
        let identity = StreamIdentity::new(region, name, self.clock.now_ms(), settings);
        let folder = self.folder.as_ref().map(|folder| folder.create(&identity)).transpose();
        let folder = folder.map_err(|error| ApiError::Internal(error.to_string()))?;
        let stream = Stream::new(identity, self.limits, self.clock.clone(), folder, Vec::new());
        stream.set_faults(self.planned().of(name));
        streams.insert(place, Arc::clone(&stream));
        Ok(stream)
    }

    /// A stream by its name in the store's own region, or by its ARN.
    ///
    /// Errors: there is none.
    pub fn stream(&self, name_or_arn: &str) -> Result<Arc<Stream>, ApiError> {
        match name_or_arn.parse::<StreamArn>() {
            Ok(arn) => self.stream_of_arn(&arn.region, name_or_arn, &arn),
            Err(()) => self.stream_of(&self.region, name_or_arn),
        }
    }

    /// A stream by its name.
    ///
    /// Errors: there is none in the region.
    pub(crate) fn stream_of(&self, region: &Region, name: &str) -> Result<Arc<Stream>, ApiError> {
        let streams = self.lock();
        if let Some(stream) = streams.get(&(region.clone(), name.to_owned())) {
            return Ok(Arc::clone(stream));
        }
        let stream = name.to_owned();
        match streams.keys().find(|(_, other)| other == name) {
            Some((has, _)) => Err(ApiError::OtherRegion { stream, region: region.clone(), has: has.clone() }),
            None => Err(ApiError::ResourceNotFound { stream }),
        }
    }

    /// A stream by its ARN, which stands in `text` as well.
    ///
    /// Errors: there is none, or it is of another region.
    pub(crate) fn stream_of_arn(
        &self,
        region: &Region,
        text: &str,
        arn: &StreamArn,
    ) -> Result<Arc<Stream>, ApiError> {
        let missing = || ApiError::ResourceNotFound { stream: text.to_owned() };
        let found = self.lock().get(&(arn.region.clone(), arn.name.clone())).cloned();
        let found = found.filter(|stream| stream.identity().arn == text).ok_or_else(missing)?;
        if arn.region != *region {
            let (stream, has) = (text.to_owned(), arn.region.clone());
            return Err(ApiError::OtherRegion { stream, region: region.clone(), has });
        }
        Ok(found)
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

    /// All streams in the order of their regions and names.
    pub fn streams(&self) -> Vec<Arc<Stream>> {
        self.lock().values().cloned().collect()
    }

    /// Removes a stream with all its fragments; its connections end.
    ///
    /// Errors: there is none, it has another version, its folder cannot be removed.
    pub async fn delete(&self, name_or_arn: &str, version: Option<&str>) -> Result<(), ApiError> {
        let stream = self.stream(name_or_arn)?;
        let identity = stream.identity();
        version.map_or(Ok(()), |version| identity.check_version(version))?;
        self.lock().remove(&(identity.region(), identity.name.clone()));
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

    fn lock(&self) -> MutexGuard<'_, Streams> {
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
