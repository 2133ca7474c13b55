//! HLS sessions: their settings, the segments that they list, and their playlists (RFC 8216).

pub(crate) mod playlist;
pub(crate) mod session;
pub(crate) mod settings;
pub(crate) mod window;
