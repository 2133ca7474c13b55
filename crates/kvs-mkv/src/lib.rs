//! Sans-I/O reader and writer of the Matroska that Kinesis Video Streams speaks.
