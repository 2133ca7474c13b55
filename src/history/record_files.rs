//! The files that records name: in the local sink's folder, and in the bucket of pictures and clips. A record is not trusted to name
//! any other file.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use bytes::{Bytes, BytesMut};
use rustix::fs::{Mode, OFlags};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::aws::{AwsFailure, AwsResource};
use crate::delivery::Clients;
use crate::sinks::PublishSpec;

/// The bucket of pictures and clips. Clones share its client.
#[derive(Clone)]
pub(super) struct RecordBucket {
    client: Client,
    name: String,
    /// First part of every key, without a slash at its ends.
    prefix: String,
    runtime: Handle,
}

/// A request for an object, or for a part of it.
pub(super) struct ObjectRequest {
    pub(super) key: String,
    /// The value of the header `Range`; `None`: the whole object.
    pub(super) range: Option<String>,
    /// The ETag that the object must have.
    pub(super) etag: Option<String>,
    /// Limit on the answer, bytes.
    pub(super) max_bytes: usize,
    pub(super) limit: Duration,
}

/// The answer to an [`ObjectRequest`].
pub(super) struct ObjectPart {
    pub(super) bytes: Bytes,
    pub(super) etag: Option<String>,
    /// The value of the header `Content-Range`.
    pub(super) range: Option<String>,
}

/// The reason why an object was not read.
pub(super) enum ObjectError {
    /// The bucket has no such object.
    NoSuchKey,
    /// The call failed.
    Failed(AwsFailure),
    /// The task that reads it ended.
    Stopped(String),
}

impl RecordBucket {
    /// Returns the bucket of the configuration; `None`: there is none.
    pub(super) fn new(publish: &PublishSpec, clients: &Clients, runtime: Handle) -> Option<Self> {
        let s3 = publish.s3.as_ref()?;
        let (name, prefix) = (s3.bucket.clone(), s3.prefix.clone());
        Some(Self { client: clients.s3(), name, prefix, runtime })
    }

    /// Returns the reason why a record is not allowed to name this object; `None`: it is allowed.
    pub(super) fn refusal(&self, bucket: &str, key: &str) -> Option<String> {
        let Self { name, prefix, .. } = self;
        if bucket != name {
            return Some(format!("it is in bucket {bucket}, and publishers.s3_bucket is {name}"));
        }
        let rest = key.strip_prefix(prefix.as_str());
        let is_below = rest.is_some_and(|rest| prefix.is_empty() || rest.starts_with('/'));
        // S3 takes such a key as it is. A server like it may leave the prefix.
        let is_plain = key.split('/').all(|part| part != "." && part != "..");
        let is_allowed = is_below && is_plain;
        (!is_allowed).then(|| format!("its key is not below publishers.s3_prefix, which is {prefix}"))
    }

    /// Reads an object or a part of it, which [`Self::refusal`] must allow. `turn` is held until the call has ended.
    pub(super) async fn get(
        &self,
        request: ObjectRequest,
        turn: impl Send + 'static,
    ) -> Result<ObjectPart, ObjectError> {
        let (of, limit) = (self.clone(), request.limit);
        // Where the connections of the other clients are. It ends by its limit, also where no client waits any more.
        let got = self.runtime.spawn(async move {
            let _turn = turn;
            timeout(limit, of.read(request)).await
        });
        match got.await.map_err(|error| ObjectError::Stopped(error.to_string()))? {
            Ok(read) => read,
            Err(_) => {
                let text = format!("no answer within {} s", limit.as_secs());
                Err(ObjectError::Failed(AwsFailure::new("timeout", &text)))
            }
        }
    }

    async fn read(&self, request: ObjectRequest) -> Result<ObjectPart, ObjectError> {
        let ObjectRequest { key, range, etag, max_bytes, limit: _ } = request;
        let call = self.client.get_object().bucket(&self.name).key(key);
        let answer = call.set_range(range).set_if_match(etag).send().await;
        let object = match answer.map_err(|error| AwsFailure::of(&error)) {
            Ok(object) => object,
            Err(failure) if failure.code == "NoSuchKey" => return Err(ObjectError::NoSuchKey),
            Err(failure) => return Err(ObjectError::Failed(failure)),
        };
        let (etag, range) = (object.e_tag, object.content_range);
        match collect(object.body, max_bytes).await {
            Ok(bytes) => Ok(ObjectPart { bytes, etag, range }),
            Err(why) => Err(ObjectError::Failed(AwsFailure::new("bad_response", &why))),
        }
    }

    /// Returns one line for a person: the bucket, the failure and the remedy.
    pub(super) fn explain(&self, failure: &AwsFailure) -> String {
        let resource = AwsResource {
            kind: "bucket",
            name: self.name.clone(),
            key: "publishers.s3_bucket",
            action: "s3:GetObject",
            endpoint_variable: "AWS_ENDPOINT_URL_S3",
            own_remedy: |code| match code {
                "AccessDenied" | "http_403" => Some(
                    "allow s3:GetObject on it (and kms:Decrypt with a KMS key). Without s3:ListBucket, S3 answers the same for an object \
                     that is not there",
                ),
                _ => None,
            },
        };
        resource.explain(failure)
    }
}

async fn collect(mut body: ByteStream, max_bytes: usize) -> Result<Bytes, String> {
    let mut bytes = BytesMut::new();
    while let Some(chunk) = body.next().await {
        bytes.extend_from_slice(&chunk.map_err(|error| error.to_string())?);
        if bytes.len() > max_bytes {
            return Err(format!("the answer has more than {max_bytes} bytes"));
        }
    }
    Ok(bytes.freeze())
}

/// Returns whether a text is the name of a file or folder, and neither a path nor hidden.
pub(super) fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !text.is_empty() && !text.starts_with('.') && text.bytes().all(is_plain)
}

/// Opens the file `top/camera/file` below the folder, following no symbolic link; `None`: it is not there, or no file.
pub(super) fn open_below(folder: &Path, [top, camera, file]: [&str; 3]) -> io::Result<Option<File>> {
    let opened = match open_by_steps(folder, [top, camera, file]) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(opened.metadata()?.is_file().then_some(opened))
}

fn open_by_steps(folder: &Path, [top, camera, file]: [&str; 3]) -> io::Result<File> {
    let read = OFlags::RDONLY.union(OFlags::CLOEXEC);
    let no_link = read.union(OFlags::NOFOLLOW);
    let root = rustix::fs::open(folder, read.union(OFlags::DIRECTORY), Mode::empty())?;
    // One step at a time: O_NOFOLLOW is about the last part of a path only.
    let top = rustix::fs::openat(&root, top, no_link.union(OFlags::DIRECTORY), Mode::empty())?;
    let camera = rustix::fs::openat(&top, camera, no_link.union(OFlags::DIRECTORY), Mode::empty())?;
    // O_NONBLOCK: a pipe would hold up the reader.
    let opened = rustix::fs::openat(&camera, file, no_link.union(OFlags::NONBLOCK), Mode::empty())?;
    Ok(File::from(opened))
}
