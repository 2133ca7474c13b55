//! Certificates that are trusted in addition to those of the system: `AWS_CA_BUNDLE`, or `ca_bundle` of the profile.

use std::io;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::profiles::{Environment, ProfileFiles};

const VARIABLE: &str = "AWS_CA_BUNDLE";
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Certificates in PEM form, each checked.
#[derive(Clone, Debug, Default)]
pub(super) struct ExtraCertificates {
    /// One certificate per text.
    pub(super) pem: Vec<String>,
}

/// A bundle of certificates that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CaBundleError {
    /// The file is not readable.
    #[error("{setting} names {}: {why}; correct the path, or unset it to trust the system's certificates", path.display())]
    Unreadable {
        /// The variable or key that names it.
        setting: String,
        /// The file.
        path: PathBuf,
        /// The reason of the system.
        why: String,
    },
    /// The file holds no usable certificate.
    #[error("{setting} names {}, which {why}; give a file of certificates in PEM form ({BEGIN})", path.display())]
    Unusable {
        /// The variable or key that names it.
        setting: String,
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
}

impl ExtraCertificates {
    /// Reads the bundle that the environment or the profile names; none without a setting.
    ///
    /// # Errors
    /// [`CaBundleError`]: the file is missing, empty or no PEM.
    pub(super) fn configured(environment: Environment<'_>) -> Result<Self, CaBundleError> {
        let named = |setting: String| move |path: String| (setting, PathBuf::from(path));
        let variable = environment(VARIABLE).filter(|path| !path.trim().is_empty());
        let profile = || {
            let files = ProfileFiles::read(environment);
            let setting = format!("ca_bundle of the profile {}", files.selected());
            files.value(files.selected(), "ca_bundle").map(named(setting))
        };
        match variable.map(named(VARIABLE.to_owned())).or_else(profile) {
            Some((setting, path)) => Self::read(&setting, &path),
            None => Ok(Self::default()),
        }
    }

    fn read(setting: &str, path: &Path) -> Result<Self, CaBundleError> {
        let text = match std::fs::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => {
                let why = match error.kind() {
                    io::ErrorKind::NotFound => "there is no such file".to_owned(),
                    io::ErrorKind::IsADirectory => "it is a folder, not a file".to_owned(),
                    _ => error.to_string(),
                };
                return Err(CaBundleError::Unreadable {
                    setting: setting.to_owned(),
                    path: path.to_owned(),
                    why,
                });
            }
        };
        usable(&text).map(|pem| Self { pem }).map_err(|why| CaBundleError::Unusable {
            setting: setting.to_owned(),
            path: path.to_owned(),
            why,
        })
    }
}

/// Returns the certificates of `text` that rustls can parse. Bundles often carry an old one that it cannot.
fn usable(text: &str) -> Result<Vec<String>, String> {
    if text.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(BEGIN) {
        let Some((body, next)) = after.split_once(END) else { break };
        blocks.push(format!("{BEGIN}{body}{END}\n"));
        rest = next;
    }
    let count = blocks.len();
    blocks.retain(|block| is_parsable(block));
    match (count, blocks.len()) {
        (0, _) => Err("holds no certificate in PEM form".to_owned()),
        (_, 0) => Err(format!("holds no certificate that can be parsed (certificates: {count})")),
        _ => Ok(blocks),
    }
}

fn is_parsable(block: &str) -> bool {
    let der = CertificateDer::from_pem_slice(block.as_bytes());
    der.is_ok_and(|der| RootCertStore::empty().add(der).is_ok())
}

#[cfg(test)]
mod tests {
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
        let broken = format!("{BEGIN}\nAAAA\n{END}\n");
        let table = [
            ("one", file("one", &good), Ok(1)),
            ("with comments and another", file("two", &format!("# corp\n{good}\n{good}")), Ok(2)),
            ("one that rustls cannot parse", file("old", &format!("{broken}{good}")), Ok(1)),
            ("none that can be parsed", file("broken", &broken), Err("can be parsed (certificates: 1)")),
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
}
