//! `kvs-infer` reads cameras from Kinesis Video Streams, runs detectors on their frames, and delivers events.
//!
//! Each stage of the pipeline is a module, and knows only the types of the modules below it:
//!
//! | stage | input | output |
//! | --- | --- | --- |
//! | [`source`] | a stream of Kinesis Video Streams (KVS), by GetMedia or HLS | bytes |
//! | [`demux`] | bytes | access units, and the ends of fragments |
//! | [`decode`] | access units | frames, sampled at `fps_target` |
//! | [`detect`] | a frame | detections: boxes, labels, plate texts |
//! | [`decide`] | the detections of each frame | incidents, and the events about them |
//! | [`delivery`], [`sinks`] | events and the checkpoint | records and pictures in AWS and in local files |
//!
//! | beside the stages | |
//! | --- | --- |
//! | [`camera`] | drives the stages of one camera |
//! | [`service`] | starts, reloads and stops all cameras, models and sinks |
//! | [`clips`] | MP4 files of stored footage, for the page and for a sink |
//! | [`sharing`](mod@sharing) | the tables of a pool of workers that share cameras |
//! | [`cli`] | the commands |
//! | [`config`] | settings from the configuration file |
//! | [`sharing`] | the table of the workers that share the cameras |
//! | [`remote`] | fetches and caches models and configurations from S3 and HTTPS |
//! | [`history`] | incidents of the past, from the local sink's folder or from the table of records |
//! | [`http`] | the page, `/healthz`, `/readyz`, `/metrics` and the API |
//! | [`replay`] | runs cameras on stored footage and compares the incidents with those of an earlier run |
//! | [`eval`] | compares events with the ground truth of their footage |
//!
//! | below the stages | |
//! | --- | --- |
//! | [`media`] | fragments, access units, frames, detections, events |
//! | [`checkpoint`] | the state with which a camera resumes after a restart |
//! | [`snapshot`] | the pictures of an event, and where they are stored |
//! | [`render`] | draws boxes on pictures and encodes them |
//! | [`status`] | the current state of the running service, which HTTP serves |
//! | [`telemetry`] | logs and metrics: one struct per event |
//! | [`aws`] | the parts that all AWS clients share: credentials, proxies, certificates, remedies |
//! | [`base`] | parts that know nothing of cameras: backoff, digests, private files |

pub mod source;

pub mod demux;

pub mod decode;

pub mod detect;

pub mod decide;

// The stage `publish`: the outbox, and the sinks that empty it.
pub mod delivery;
pub mod sinks;

pub mod camera;
pub mod clips;
pub mod service;
pub mod sharing;

pub mod aws;
pub mod base;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod eval;
pub mod history;
pub mod http;
pub mod media;
pub mod remote;
pub mod render;
pub mod replay;
pub mod snapshot;
pub mod status;
pub mod telemetry;
