//! The cluster's keys and certificates: made on the admin's machine, kept in the state folder, completed on every run.

pub(crate) mod host_archive;
mod inspect;
mod issue;
mod specification;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8swin_inventory::Cluster;
use k8swin_protocol::SecretBytes;
use openssl::pkey::{PKey, Private};

pub use inspect::certificate_ends;
use issue::{Issued, Signer};
use specification::{Authority, specifications};

pub(crate) use specification::host_stem;

/// The service-account keys: private, for those who sign tokens, and public, for those who check them.
const SERVICE_ACCOUNT_KEY: &str = "sa.key";
const SERVICE_ACCOUNT_PUBLIC_KEY: &str = "sa.pub";

/// Keys and certificates could not be made or read. No message holds a key.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// Making one failed.
    #[error("cannot make the certificate or key `{name}`: {reason}")]
    Issue {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
    /// A file is not there.
    #[error(
        "the file `{name}` is missing among the cluster's keys: restore the state folder, or let `k8swin up` read it back \
         from the first control plane"
    )]
    Missing {
        /// Its name.
        name: String,
    },
    /// A file is not what it should be.
    #[error("the file `{name}` among the cluster's keys cannot be used: {reason}; restore it")]
    Unusable {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
    /// The CA's time is over. It is never renewed silently: all that trusts it would have to be changed at once.
    #[error(
        "the CA certificate `{name}` ended at {ended}: the cluster needs a new CA and with it all new certificates"
    )]
    Ended {
        /// Its name.
        name: String,
        /// When.
        ended: Timestamp,
    },
}

/// The cluster's keys and certificates, by file name: `ca.crt`, `etcd/ca.key`, `hosts/lin01/kubelet.crt`, …
///
/// There are always a usable CA for the cluster, one for etcd, and the service-account keys. What else is there may be
/// out of date until [`Pki::complete`] has been called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pki {
    files: BTreeMap<String, SecretBytes>,
}

impl Pki {
    /// Makes all keys and certificates of a new cluster. Certificates are valid from one hour before `now`, since the
    /// clocks of hosts may be behind: the CAs for ten years, the others for one.
    ///
    /// # Errors
    /// When making a key fails, or when `now` is no time that a certificate can begin at.
    pub fn generate(cluster: &Cluster, now: Timestamp) -> Result<Self, PkiError> {
        let mut files = BTreeMap::new();
        for authority in Authority::ALL {
            insert(&mut files, authority.stem(), issue::authority(authority, now)?);
        }
        let (private, public) = issue::service_account()?;
        files.insert(SERVICE_ACCOUNT_KEY.to_owned(), private);
        files.insert(SERVICE_ACCOUNT_PUBLIC_KEY.to_owned(), public);
        let mut pki = Self { files };
        pki.complete(cluster, now)?;
        Ok(pki)
    }

    /// Takes files of the state folder, or those read back from the first control plane, with the archive of the hosts' own.
    ///
    /// # Errors
    /// When a CA or a service-account key is missing or unusable. Other files may be anything: [`Pki::complete`]
    /// replaces them.
    pub fn from_files(mut files: BTreeMap<String, SecretBytes>) -> Result<Self, PkiError> {
        host_archive::unpack(&mut files);
        let pki = Self { files };
        for authority in Authority::ALL {
            pki.signer(authority)?;
        }
        pki.check_service_account()?;
        Ok(pki)
    }

    /// All files: those ending in `.key` are secret.
    #[must_use]
    pub fn files(&self) -> &BTreeMap<String, SecretBytes> {
        &self.files
    }

    /// All hosts' own files as one, for the first control plane.
    pub(crate) fn host_archive(&self) -> SecretBytes {
        host_archive::pack(&self.files)
    }

    /// One file.
    pub(crate) fn file(&self, name: &str) -> Result<&SecretBytes, PkiError> {
        self.files.get(name).ok_or_else(|| PkiError::Missing { name: name.to_owned() })
    }

    /// The text of a file that is no secret.
    pub(crate) fn public_text(&self, name: &str) -> Result<String, PkiError> {
        let unusable = |reason| PkiError::Unusable { name: name.to_owned(), reason };
        Ok(inspect::text(self.file(name)?).map_err(unusable)?.to_owned())
    }

    /// Makes what the cluster needs and does not have: certificates of new hosts, with changed names, of another CA, or
    /// that end within 30 days. Takes away what it no longer needs. The CAs and the service-account keys stay for ever.
    /// Says whether anything changed.
    ///
    /// # Errors
    /// When making a key fails, or when a CA's time is over.
    pub fn complete(&mut self, cluster: &Cluster, now: Timestamp) -> Result<bool, PkiError> {
        let mut wanted: BTreeSet<String> = [SERVICE_ACCOUNT_KEY, SERVICE_ACCOUNT_PUBLIC_KEY].map(str::to_owned).into();
        let mut changed = false;
        for authority in Authority::ALL {
            wanted.extend(file_names(authority.stem()));
            let signer = self.signer(authority)?;
            if signer.ends <= now {
                return Err(PkiError::Ended { name: certificate_name(authority.stem()), ended: signer.ends });
            }
            for specification in specifications(cluster).iter().filter(|wanted| wanted.authority == authority) {
                let [certificate, key] = file_names(&specification.stem);
                let fulfilled = match (self.files.get(&certificate), self.files.get(&key)) {
                    (Some(certificate), Some(key)) => signer.signed(certificate, key, specification, now)?,
                    _ => false,
                };
                if !fulfilled {
                    insert(&mut self.files, &specification.stem, signer.signer.issue(specification, now)?);
                    changed = true;
                }
                wanted.extend([certificate, key]);
            }
        }
        let before = self.files.len();
        self.files.retain(|name, _| wanted.contains(name));
        Ok(changed || self.files.len() != before)
    }

    /// Reads a CA and checks that certificate and key belong together.
    fn signer(&self, authority: Authority) -> Result<CheckedSigner, PkiError> {
        let [certificate_name, key_name] = file_names(authority.stem());
        let certificate = self.file(&certificate_name)?;
        let key = self.file(&key_name)?;
        let bad_certificate = |reason| PkiError::Unusable { name: certificate_name.clone(), reason };
        let bad_key = |reason| PkiError::Unusable { name: key_name.clone(), reason };
        let pem = inspect::pem(certificate).map_err(bad_certificate)?;
        let parsed = pem.parse_x509().map_err(|error| bad_certificate(error.to_string()))?;
        if !parsed.is_ca() {
            return Err(bad_certificate("it is not the certificate of a CA".to_owned()));
        }
        if !inspect::belong_together(&parsed, &inspect::key(key).map_err(bad_key)?) {
            return Err(bad_key(format!("it does not belong to `{certificate_name}`")));
        }
        let seconds = parsed.validity().not_after.timestamp();
        let ends = Timestamp::from_second(seconds).map_err(|error| bad_certificate(error.to_string()))?;
        let text = inspect::text(certificate).map_err(bad_certificate)?;
        let signer = Signer::new(authority.stem(), text, inspect::text(key).map_err(bad_key)?, seconds)?;
        Ok(CheckedSigner { signer, certificate: certificate.clone(), name: certificate_name, ends })
    }

    fn check_service_account(&self) -> Result<(), PkiError> {
        let unusable =
            |name: &str, reason: &str| PkiError::Unusable { name: name.to_owned(), reason: reason.to_owned() };
        let private: PKey<Private> = PKey::private_key_from_pem(self.file(SERVICE_ACCOUNT_KEY)?.expose())
            .map_err(|_| unusable(SERVICE_ACCOUNT_KEY, "it is not a private key"))?;
        let public = PKey::public_key_from_pem(self.file(SERVICE_ACCOUNT_PUBLIC_KEY)?.expose())
            .map_err(|_| unusable(SERVICE_ACCOUNT_PUBLIC_KEY, "it is not a public key"))?;
        if private.public_eq(&public) {
            Ok(())
        } else {
            Err(unusable(SERVICE_ACCOUNT_PUBLIC_KEY, "it does not belong to `sa.key`"))
        }
    }
}

/// A CA that has been read.
struct CheckedSigner {
    signer: Signer,
    certificate: SecretBytes,
    name: String,
    ends: Timestamp,
}

impl CheckedSigner {
    /// Whether certificate and key fulfil the specification, and this CA signed them.
    fn signed(
        &self,
        certificate: &SecretBytes,
        key: &SecretBytes,
        specification: &specification::Specification,
        now: Timestamp,
    ) -> Result<bool, PkiError> {
        let unusable = |reason: String| PkiError::Unusable { name: self.name.clone(), reason };
        let pem = inspect::pem(&self.certificate).map_err(unusable)?;
        let authority = pem.parse_x509().map_err(|error| unusable(error.to_string()))?;
        Ok(inspect::fulfils(certificate, key, specification, &authority, now))
    }
}

fn certificate_name(stem: &str) -> String {
    format!("{stem}.crt")
}

fn file_names(stem: &str) -> [String; 2] {
    [certificate_name(stem), format!("{stem}.key")]
}

fn insert(files: &mut BTreeMap<String, SecretBytes>, stem: &str, issued: Issued) {
    let [certificate, key] = file_names(stem);
    files.insert(certificate, issued.certificate);
    files.insert(key, issued.key);
}
