//! Certificates trusted in addition to those of the system: `AWS_CA_BUNDLE`, or `ca_bundle` of the profile.

use std::io;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::profiles::{EnvironmentLookup, ProfileFiles, in_home};

const VARIABLE: &str = "AWS_CA_BUNDLE";
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Checked certificates in PEM form.
#[derive(Clone, Debug, Default)]
pub(super) struct ExtraCertificates {
    /// One certificate per text.
    pub(super) pem: Vec<String>,
    /// The file of the certificates, or `None` if no setting names one.
    pub(super) bundle: Option<Bundle>,
}

/// A file of certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bundle {
    /// The variable or key that names the file.
    pub(super) setting: String,
    /// The file.
    pub(super) path: PathBuf,
    /// Numbers of the certificates that rustls rejects, from 1.
    pub(super) refused: Vec<usize>,
}

/// The file of additional certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CaBundleError {
    /// The file cannot be read.
    #[error("{setting} names {}: {why}; correct the path, or unset it to trust the system's certificates", path.display())]
    Unreadable {
        /// The variable or key that names the file.
        setting: String,
        /// The file.
        path: PathBuf,
        /// Error of the operating system.
        why: String,
    },
    /// The file contains no usable certificate.
    #[error("{setting} names {}, which {why}; give a file of certificates in PEM form ({BEGIN})", path.display())]
    Unusable {
        /// The variable or key that names the file.
        setting: String,
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// A certificate in the file is damaged.
    #[error("{setting} names {}, whose certificate {} {}; copy it again, or remove it", path.display(), broken.place(), broken.why)]
    Broken {
        /// The variable or key that names the file.
        setting: String,
        /// The file.
        path: PathBuf,
        /// The certificate.
        broken: BrokenBlock,
    },
}

/// A PEM block that is not a certificate.
#[derive(Debug, PartialEq, Eq)]
pub struct BrokenBlock {
    /// Number of the block, from 1.
    number: usize,
    /// Line of its beginning, from 1.
    line: usize,
    why: &'static str,
}

impl BrokenBlock {
    fn place(&self) -> String {
        format!("{} (line {})", self.number, self.line)
    }
}

/// A mistake in a file of certificates: in the whole file, or in one certificate.
enum BundleFault {
    Whole(String),
    Block(BrokenBlock),
}

impl Bundle {
    /// Returns a clause about the certificates that rustls rejects, or an empty text.
    pub(super) fn skipped(&self) -> String {
        if self.refused.is_empty() {
            return String::new();
        }
        let numbers = self.refused.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        format!("; certificates in it that cannot be used: number {numbers}")
    }
}

impl ExtraCertificates {
    /// Reads the file that the environment or the profile names. Without a setting there are no certificates.
    ///
    /// # Errors
    /// [`CaBundleError`]: the file is missing, empty, not PEM or damaged.
    pub(super) fn configured(environment: EnvironmentLookup<'_>) -> Result<Self, CaBundleError> {
        let named = |setting: String| move |path: String| (setting, in_home(&path, environment));
        // The variable takes precedence over the profile, as in AWS's tools.
        let variable = environment(VARIABLE).filter(|path| !path.trim().is_empty());
        let profile = || {
            let files = ProfileFiles::read(environment);
            let setting = format!("ca_bundle of the profile {}", files.selected());
            files.value(files.selected(), "ca_bundle").map(named(setting))
        };
        match variable.map(named(VARIABLE.to_owned())).or_else(profile) {
            Some((setting, path)) => Self::read(setting, path),
            None => Ok(Self::default()),
        }
    }

    fn read(setting: String, path: PathBuf) -> Result<Self, CaBundleError> {
        let text = match read_text(&path) {
            Ok(text) => text,
            Err(why) => return Err(CaBundleError::Unreadable { setting, path, why }),
        };
        match usable(&text) {
            Ok((pem, refused)) => Ok(Self { pem, bundle: Some(Bundle { setting, path, refused }) }),
            Err(BundleFault::Whole(why)) => Err(CaBundleError::Unusable { setting, path, why }),
            Err(BundleFault::Block(broken)) => Err(CaBundleError::Broken { setting, path, broken }),
        }
    }
}

/// Returns the text of a file, or the reason why it cannot be read.
fn read_text(path: &Path) -> Result<String, String> {
    match std::fs::read(path) {
        // Comments between certificates may be in any encoding.
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) => Err(match error.kind() {
            io::ErrorKind::NotFound => "there is no such file".to_owned(),
            io::ErrorKind::IsADirectory => "it is a folder, not a file".to_owned(),
            _ => error.to_string(),
        }),
    }
}

/// Returns the certificates of `text` that rustls accepts, and the numbers of the others.
///
/// A few rejected ones are no error, because many bundles contain an old certificate that rustls does not support.
fn usable(text: &str) -> Result<(Vec<String>, Vec<usize>), BundleFault> {
    if text.trim().is_empty() {
        return Err(BundleFault::Whole("is empty".to_owned()));
    }
    let blocks = blocks(text).map_err(BundleFault::Block)?;
    let count = blocks.len();
    let (mut taken, mut refused) = (Vec::new(), Vec::new());
    for (index, (block, der)) in blocks.into_iter().enumerate() {
        // Each certificate separately, to find out which one rustls rejects.
        match RootCertStore::empty().add(der) {
            Ok(()) => taken.push(block),
            Err(_) => refused.push(index + 1),
        }
    }
    match (count, taken.len()) {
        (0, _) => Err(BundleFault::Whole("contains no certificate in PEM form".to_owned())),
        (_, 0) => Err(BundleFault::Whole(format!(
            "contains no certificate that can be used (certificates: {count})"
        ))),
        _ => Ok((taken, refused)),
    }
}

/// Returns each PEM block of a certificate with its DER content.
fn blocks(text: &str) -> Result<Vec<(String, CertificateDer<'static>)>, BrokenBlock> {
    let (mut blocks, mut at) = (Vec::new(), 0);
    while let Some(begin) = text[at..].find(BEGIN) {
        let start = at + begin + BEGIN.len();
        let line = 1 + text[..start].bytes().filter(|&byte| byte == b'\n').count();
        let broken = |why| BrokenBlock { number: blocks.len() + 1, line, why };
        let rest = &text[start..];
        let length = rest.find(END).ok_or_else(|| broken("has no end (-----END CERTIFICATE-----)"))?;
        let body = &rest[..length];
        // A truncated certificate would otherwise swallow the next one.
        if body.contains("-----BEGIN") {
            return Err(broken("has no end (-----END CERTIFICATE-----) before the next one starts"));
        }
        let block = format!("{BEGIN}{body}{END}\n");
        let der = CertificateDer::from_pem_slice(block.as_bytes());
        let der = der.map_err(|_| broken("is not well-formed Base64"))?;
        // Base64 that is cut between two groups of four decodes without an error.
        if !is_whole(&der) {
            return Err(broken("is truncated, or not a certificate"));
        }
        blocks.push((block, der));
        at = start + length + END.len();
    }
    Ok(blocks)
}

/// Returns `true` if the outermost DER sequence ends with the last byte, so the certificate is not truncated.
/// Source: ITU-T X.690 (2021), 8.1.3.
fn is_whole(der: &[u8]) -> bool {
    let (Some(0x30), Some(&first)) = (der.first(), der.get(1)) else { return false };
    let bytes = if first < 0x80 { 0 } else { usize::from(first & 0x7f) };
    if bytes > size_of::<u32>() {
        return false;
    }
    let Some(long) = der.get(2..2 + bytes) else { return false };
    let length = if bytes == 0 {
        usize::from(first)
    } else {
        long.iter().fold(0, |length, &byte| length << 8 | usize::from(byte))
    };
    der.len() == 2 + bytes + length
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn configured(variable: Option<&Path>, profile: Option<&Path>) -> Result<usize, String> {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config");
        let bundle = profile.map_or_else(String::new, |path| format!("ca_bundle = {}", path.display()));
        std::fs::write(&config, format!("[profile corp]\n{bundle}\n")).unwrap();
        let environment = |name: &str| match name {
            "AWS_CA_BUNDLE" => variable.map(|path| path.display().to_string()),
            "AWS_CONFIG_FILE" => Some(config.display().to_string()),
            "AWS_PROFILE" => Some("corp".to_owned()),
            _ => None,
        };
        let found = ExtraCertificates::configured(&environment);
        found.map(|found| found.pem.len()).map_err(|error| error.to_string())
    }

    #[test]
    fn bundles_by_table() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let good = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap().cert.pem();
        // A sequence with an integer: whole, and no certificate that rustls takes.
        let old = format!("{BEGIN}\nMAMCAQE=\n{END}\n");
        let lines: Vec<&str> = good.lines().collect();
        let short = [&lines[..3], &lines[4..]].concat().join("\n");
        let garbled = good.replacen('M', "!", 1);
        let unended = good.replace(END, "");
        let second = |damaged: &str| format!("# corp\n{good}{damaged}\n{good}");
        let line = 2 + lines.len();
        let place = format!("whose certificate 2 (line {line}) ");
        let (no_base64, cut) = (
            format!("{place}is not well-formed Base64"),
            format!("{place}is truncated, or not a certificate"),
        );
        let (no_end, last) = (format!("{place}has no end"), "certificate 1 (line 1) has no end".to_owned());
        let table = [
            ("one", file("one", &good), Ok(1)),
            ("with comments and another", file("two", &format!("# corp\n{good}\n{good}")), Ok(2)),
            ("on one line", file("glued", &format!("{}{good}", good.trim_end())), Ok(2)),
            ("one that rustls does not take", file("old", &format!("{old}{good}")), Ok(1)),
            ("none that rustls takes", file("broken", &old), Err("can be used (certificates: 1)")),
            ("garbled", file("garbled", &second(&garbled)), Err(no_base64.as_str())),
            ("a line is missing", file("short", &second(&short)), Err(cut.as_str())),
            ("without its end", file("unended", &second(&unended)), Err(no_end.as_str())),
            ("the last without its end", file("last", &unended), Err(last.as_str())),
            ("empty", file("empty", "\n"), Err("which is empty; give a file")),
            ("DER", file("der", "\u{30}\u{82}"), Err("no certificate in PEM form")),
            ("a key", file("key", "-----BEGIN PRIVATE KEY-----\n"), Err("no certificate in PEM form")),
            ("missing", folder.path().join("none"), Err("there is no such file; correct the path")),
            ("a folder", folder.path().to_owned(), Err("it is a folder, not a file")),
        ];
        for (name, path, wanted) in table {
            for (setting, found) in [
                ("AWS_CA_BUNDLE names", configured(Some(&path), None)),
                ("ca_bundle of the profile corp names", configured(None, Some(&path))),
            ] {
                match (wanted, found) {
                    (Ok(count), Ok(found)) => assert_eq!(found, count, "{name}"),
                    (Err(words), Err(text)) => {
                        assert!(text.contains(words) && text.starts_with(setting), "{name}: {text}");
                        assert!(text.contains(&path.display().to_string()), "{name}: {text}");
                    }
                    (wanted, found) => panic!("{name}: {found:?}, not {wanted:?}"),
                }
            }
        }
        assert_eq!(configured(Some(Path::new("")), None), Ok(0), "an empty variable is none");
        assert_eq!(configured(None, None), Ok(0));
    }

    #[test]
    fn a_bundle_in_the_home_folder_is_found_and_its_unusable_certificates_are_named() {
        let home = tempfile::tempdir().unwrap();
        let good = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap().cert.pem();
        let old = format!("{BEGIN}\nMAMCAQE=\n{END}\n");
        std::fs::write(home.path().join("corp.pem"), format!("{good}{old}{good}{old}")).unwrap();
        let environment = |name: &str| match name {
            "AWS_CA_BUNDLE" => Some("~/corp.pem".to_owned()),
            "HOME" => Some(home.path().display().to_string()),
            _ => None,
        };
        let found = ExtraCertificates::configured(&environment).unwrap();
        let bundle = found.bundle.unwrap();
        assert_eq!((found.pem.len(), bundle.path.clone()), (2, home.path().join("corp.pem")));
        assert!(bundle.skipped().ends_with("number 2, 4"), "{}", bundle.skipped());
    }
}
