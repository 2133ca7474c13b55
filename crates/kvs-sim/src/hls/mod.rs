//! HLS sessions: settings, listed segments, and playlists (RFC 8216).

pub(crate) mod playlist;
pub(crate) mod session;
pub(crate) mod settings;
pub(crate) mod window;
