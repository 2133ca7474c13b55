//! One camera's way: source -> demux -> decode -> detect -> decide -> publish, joined.
