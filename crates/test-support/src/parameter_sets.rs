//! Parameter sets written by x264 and x265 for a picture of 320x178.

/// SPS and PPS of H.264, in hexadecimal digits.
pub const H264_SETS: [&str; 2] = ["6764000cacd94141 9f88c04400000300 0400000300c83c50 a65826", "68ef8fcb"];
/// VPS, SPS and PPS of H.265, in hexadecimal digits.
pub const H265_SETS: [&str; 3] = [
    "40010c01ffff0160 0000030090000003 00000300 3c959809 24",
    "4201010160000003 0090000003000003 003ca00a080b9f26 5959a4932bc05a02 0000030002000003 00321043",
    "4401c172b46240",
];

/// Returns the bytes of hexadecimal digits; other characters are ignored.
pub fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}
