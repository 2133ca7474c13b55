//! The remedy for each failed call, by error code, HTTP status and message.
//!
//! Sources, sinks, probes and the log use the same sentences.

use super::certificates::Bundle;
use super::http_client::HttpSettings;
use super::proxies::ProxyAddress;

/// Remedy for an answer of another server than AWS.
pub const FOREIGN_REMEDY: &str = "a proxy, a captive portal or another server answers in place of AWS: check HTTPS_PROXY, NO_PROXY and AWS_ENDPOINT_URL";
/// First half of [`FOREIGN_REMEDY`], after which the host may follow.
pub(super) const FOREIGN: &str = "a proxy, a captive portal or another server answers in place of AWS";
/// Second half of [`FOREIGN_REMEDY`].
pub(super) const CHECK_ROUTE: &str = "check HTTPS_PROXY, NO_PROXY and AWS_ENDPOINT_URL";
const CLOCK: &str = "set the clock of this host (chrony, timedatectl): AWS refuses signatures that are more than 5 minutes off";

const TOO_LARGE: &str = "the server or a proxy on the way does not accept a request of this size: raise its limit, and check HTTPS_PROXY and AWS_ENDPOINT_URL";

/// Returns the remedy for a request without an answer, by the text of its error, or `None` if only the caller knows one.
pub(super) fn transport_remedy(text: &str, proxy: Option<&ProxyAddress>) -> Option<String> {
    // The errors of rustls, hyper and the SDK reach this point only as text.
    let lower = text.to_ascii_lowercase();
    let has = |part: &str| lower.contains(part);
    if has("peer certificate") || has("invalid certificate") || has("certificate verify") {
        let bundle = HttpSettings::of_this_process().certificates.bundle.as_ref();
        return Some(certificate_remedy(&lower, bundle));
    }
    if has("too many open files") {
        let remedy = "raise the limit of open files (ulimit -n; in a task definition ulimits, nofile)";
        return Some(remedy.to_owned());
    }
    // With a proxy, the name and the port of the error are those of the proxy.
    if let Some(proxy) = proxy {
        return Some(proxy_remedy(&lower, proxy));
    }
    address_remedy(&lower).map(str::to_owned)
}

/// Returns the remedy for an endpoint whose name or port is wrong.
fn address_remedy(text: &str) -> Option<&'static str> {
    let has = |part: &str| text.contains(part);
    if has("dns error") || has("failed to lookup address") {
        return Some("no such host: check the region, the endpoint's name and this host's DNS");
    }
    if has("invalidcontenttype") || has("corrupt message") {
        return Some(
            "the server does not speak TLS there: write http:// in its address, or correct the port",
        );
    }
    None
}

fn proxy_remedy(text: &str, proxy: &ProxyAddress) -> String {
    if text.contains("proxy authorization") || text.contains("407") {
        return login_remedy(Some(proxy));
    }
    let remedy = match proxy.address.starts_with("socks") {
        true => "only proxies with http:// and https:// are supported",
        false => "check that it runs and allows this host, or name the host in NO_PROXY",
    };
    format!("the proxy {proxy} comes from HTTP_PROXY, HTTPS_PROXY or ALL_PROXY: {remedy}")
}

/// Returns the remedy for status 407.
pub(super) fn login_remedy(proxy: Option<&ProxyAddress>) -> String {
    match proxy {
        Some(proxy) if proxy.has_login => format!(
            "the proxy {proxy} refuses the user and password of HTTPS_PROXY (or HTTP_PROXY, ALL_PROXY): correct them, with \
             special characters as in an address (@ is %40); only Basic is supported"
        ),
        Some(proxy) => format!(
            "the proxy {proxy} requires a user and password: give them in HTTPS_PROXY (http://USER:PASSWORD@HOST:PORT)"
        ),
        None => "a proxy on the way requires a user and password: give them with its address in HTTPS_PROXY"
            .to_owned(),
    }
}

fn certificate_remedy(text: &str, bundle: Option<&Bundle>) -> String {
    // The names of rustls's `CertificateError`, in lower case.
    if text.contains("unknownissuer") {
        return unknown_issuer_remedy(bundle);
    }
    if text.contains("badsignature") {
        let add = unknown_issuer_remedy(bundle);
        return format!(
            "a trusted certificate has the name of its issuer but another key, such as an older one: {add}"
        );
    }
    server_certificate_remedy(text).to_owned()
}

/// Returns the remedy for a fault of the server's own certificate.
fn server_certificate_remedy(text: &str) -> &'static str {
    let has = |part: &str| text.contains(part);
    if has("notvalidyet") || has("not valid yet") || has("not yet valid") {
        "its certificate is not valid yet: set the clock of this host (chrony, timedatectl), or have it reissued"
    } else if has("expired") {
        "its certificate has expired: have it renewed, and check the clock of this host"
    } else if has("notvalidforname") || has("not valid for name") {
        "its certificate is for another host: correct the endpoint's name, or have the certificate reissued for it"
    } else if has("causedasendentity") {
        "its certificate is that of a certificate authority: have one issued for the server (basicConstraints CA:FALSE)"
    } else {
        "its certificate is not acceptable: have it reissued"
    }
}

fn unknown_issuer_remedy(bundle: Option<&Bundle>) -> String {
    let Some(bundle) = bundle else {
        return "no trusted certificate is of the issuer of its certificate: name a file with the issuer's certificate (PEM) in \
                AWS_CA_BUNDLE"
            .to_owned();
    };
    let (setting, path) = (&bundle.setting, bundle.path.display());
    let skipped = bundle.skipped();
    format!(
        "neither {path} ({setting}) nor the system trusts the issuer of its certificate: add the issuer's certificate (PEM) to \
         that file{skipped}"
    )
}

/// Returns the remedy that applies to any call. It takes precedence over the remedies of a sink.
pub(super) fn certain_remedy(code: &str, message: &str, status: Option<u16>) -> Option<String> {
    // S3, Kinesis and DynamoDB report a failure of KMS under codes of their own, such as AccessDenied.
    if let Some(remedy) = kms_remedy(code, message) {
        return Some(remedy);
    }
    // DynamoDB names the index only in the message.
    if let Some((_, index)) = message.split_once("IndexName:").filter(|_| code == "ValidationException") {
        return Some(index_remedy(index));
    }
    let of_network = match (code, status) {
        ("not_aws", _) => Some(FOREIGN_REMEDY),
        (_, Some(511)) => Some("the network requires a sign-in (HTTP 511): sign in, or use another network"),
        _ => None,
    };
    let remedy = of_network.or_else(|| signature_remedy(code, message)).or_else(|| account_remedy(code));
    remedy.or_else(|| request_remedy(code, message)).map(str::to_owned)
}

/// Returns the remedy for a signature that AWS refuses.
fn signature_remedy(code: &str, message: &str) -> Option<&'static str> {
    Some(match code {
        "RequestTimeTooSkewed" | "RequestExpired" | "RequestInTheFuture" => CLOCK,
        "InvalidSignatureException" | "SignatureDoesNotMatch" if is_about_time(message) => CLOCK,
        "SignatureDoesNotMatch"
        | "InvalidSignatureException"
        | "IncompleteSignature"
        | "IncompleteSignatureException" => {
            "the secret key does not belong to the access key, or a proxy on the way changes requests: correct \
             AWS_SECRET_ACCESS_KEY or the profile, and check the clock of this host"
        }
        "MissingAuthenticationToken" | "MissingAuthenticationTokenException" => {
            "the request arrived without its signature: check AWS_ENDPOINT_URL, and proxies that remove headers"
        }
        _ => return access_key_remedy(code),
    })
}

/// Returns the remedy for an access key or a session token that AWS refuses.
fn access_key_remedy(code: &str) -> Option<&'static str> {
    Some(match code {
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" | "ExpiredCredentials" => {
            "renew the credentials (aws sso login, or a new session token; those of a role renew themselves), and check the \
             clock of this host"
        }
        "InvalidAccessKeyId" | "UnrecognizedClientException" | "InvalidClientTokenId" => {
            "AWS does not recognize the access key or its token: correct AWS_ACCESS_KEY_ID and AWS_SESSION_TOKEN, or the profile, and \
             check that the account uses this region"
        }
        "InvalidToken" => {
            "the session token does not belong to the access key: correct AWS_SESSION_TOKEN, or unset it for a key without one"
        }
        _ => return None,
    })
}

/// Returns the remedy for an account that is not allowed to use the service.
fn account_remedy(code: &str) -> Option<&'static str> {
    Some(match code {
        "OptInRequired" | "SubscriptionRequiredException" | "NotSignedUp" => {
            "the account has not enabled this service or region: enable it in the AWS console"
        }
        "AccountProblem" | "AllAccessDisabled" | "AccountSuspended" => {
            "AWS has restricted the account: check its bills and messages, or ask AWS Support"
        }
        _ => return None,
    })
}

/// Returns the remedy for a request that the service cannot execute.
fn request_remedy(code: &str, message: &str) -> Option<&'static str> {
    Some(match code {
        code if is_unknown_operation(code) => {
            "the server is not this service: correct AWS_ENDPOINT_URL or its form for this service"
        }
        "ItemCollectionSizeLimitExceededException" => {
            "a partition key has more than 10 GB in a local secondary index: use a table without that index"
        }
        "ReplicatedWriteConflictException" | "OperationAborted" | "ConditionalRequestConflict" => {
            "another writer changes it at the same time; it is tried again"
        }
        _ => return upload_remedy(code, message),
    })
}

fn is_unknown_operation(code: &str) -> bool {
    matches!(
        code,
        "UnknownOperationException"
            | "UnknownOperation"
            | "InvalidAction"
            | "MethodNotAllowed"
            | "NotImplemented"
    )
}

/// Returns the remedy for an object that S3 does not store.
fn upload_remedy(code: &str, message: &str) -> Option<&'static str> {
    Some(match code {
        "AccessControlListNotSupported" => {
            "the bucket accepts no ACLs, and a server between here and S3 adds one (x-amz-acl): remove it there (proxies, \
             AWS_ENDPOINT_URL), or enable ACLs in the bucket's Object Ownership"
        }
        code if is_digest_mismatch(code) => {
            "a server on the way changes the content: check proxies and AWS_ENDPOINT_URL; it is tried again"
        }
        "InvalidRequest" if message.contains("Object Lock") => {
            "the bucket has Object Lock and requires a checksum: leave request checksums on (AWS_REQUEST_CHECKSUM_CALCULATION), \
             or use a bucket without Object Lock"
        }
        _ => return None,
    })
}

fn is_digest_mismatch(code: &str) -> bool {
    matches!(
        code,
        "BadDigest"
            | "InvalidDigest"
            | "IncompleteBody"
            | "XAmzContentSHA256Mismatch"
            | "XAmzContentChecksumMismatch"
    )
}

fn index_remedy(after_name: &str) -> String {
    let index = after_name.trim_start().split([' ', ',']).next().unwrap_or_default();
    format!(
        "the index {index} requires a key that the items do not have in this type: remove it, or recreate it with keys that \
         each item has, such as camera_id (S) and ts_ms (N)"
    )
}

fn is_about_time(message: &str) -> bool {
    message.contains("Signature expired")
        || message.contains("not yet current")
        || message.contains("is now ")
}

/// Returns the remedy if a KMS key is the reason, which services report under many codes.
fn kms_remedy(code: &str, message: &str) -> Option<String> {
    if message.contains("INACCESSIBLE_ENCRYPTION_CREDENTIALS") || code.starts_with("InaccessibleEncryption") {
        let remedy =
            "enable the table's KMS key and allow its use, or switch the table to a key that can be used";
        return Some(remedy.to_owned());
    }
    if !is_about_kms(code, message) {
        return None;
    }
    let has = |part: &str| code.contains(part) || message.contains(part);
    let is_denied = ["AccessDenied", "not authorized", "not allowed", "denied"].into_iter().any(has);
    let remedy = kms_key_remedy(has).map(str::to_owned);
    let allow = || {
        format!("allow {} on the KMS key to this role, in its policy and in the key's", kms_actions(message))
    };
    let remedy = remedy.or_else(|| is_denied.then(allow));
    Some(remedy.unwrap_or_else(|| "correct the KMS key or its policy".to_owned()))
}

fn is_about_kms(code: &str, message: &str) -> bool {
    code.starts_with("KMS") || code.starts_with("Kms") || message.contains("kms:") || message.contains("KMS")
}

/// Returns the remedy for the state, the kind or the quota of a KMS key.
fn kms_key_remedy(has: impl Fn(&str) -> bool) -> Option<&'static str> {
    Some(if has("InvalidState") || has("pending deletion") || has("PendingDeletion") {
        "the KMS key is being deleted or not ready: cancel its deletion, or choose another key"
    } else if has("Disabled") || has("is disabled") {
        "enable the KMS key, or choose another (for S3: publishers.s3_kms_key)"
    } else if has("NotFound") || has("Invalid keyId") || has("does not exist") {
        "no such KMS key in this region and account: correct the key (for S3: publishers.s3_kms_key)"
    } else if has("Throttling") || has("throttl") {
        "the account's quota of KMS requests is used up: it is tried again; raise the quota in Service Quotas"
    } else if has("OptIn") {
        "the account has not enabled KMS in this region: enable it in the AWS console"
    } else if has("InvalidKeyUsage") || has("KeyUnavailable") || has("unsupported") {
        "choose a symmetric KMS key for encryption that is available (for S3: publishers.s3_kms_key)"
    } else {
        return None;
    })
}

/// Returns the action that the message names, or else those that writing and reading encrypted data need.
fn kms_actions(message: &str) -> String {
    let named = message
        .split_once("kms:")
        .map(|(_, rest)| rest.chars().take_while(char::is_ascii_alphanumeric).collect::<String>());
    match named.filter(|action| !action.is_empty()) {
        Some(action) => format!("kms:{action}"),
        None => "kms:GenerateDataKey and kms:Decrypt".to_owned(),
    }
}

/// Returns the usual remedy for a code or status, where the caller knows none of its own.
pub(super) fn usual_remedy(code: &str) -> Option<&'static str> {
    let status = code.strip_prefix("http_").and_then(|status| status.parse::<u16>().ok());
    if let Some(status) = status {
        return status_remedy(status);
    }
    Some(match code {
        code if is_denial(code) => "allow this call to this role",
        "unreachable" | "timeout" => "check the network and AWS_ENDPOINT_URL",
        "bad_response" => FOREIGN_REMEDY,
        "not_sent" => "correct the region, the endpoints or the names in the configuration",
        _ => return capacity_remedy(code).or_else(|| content_remedy(code)),
    })
}

/// Returns the remedy for a service that cannot take the request at present.
fn capacity_remedy(code: &str) -> Option<&'static str> {
    Some(match code {
        code if is_throttle(code) => {
            "too many requests: it is tried again more slowly; raise the quota in Service Quotas if this lasts"
        }
        "LimitExceededException" | "LimitExceeded" => {
            "a limit of the account is reached: it is tried again; raise the quota in Service Quotas if this lasts"
        }
        "ResourceInUseException" => {
            "it is being created or changed: wait until it is ACTIVE; it is tried again"
        }
        code if is_service_fault(code) => {
            "a fault of the service: it is tried again automatically; see the AWS Health Dashboard if this lasts"
        }
        _ => return None,
    })
}

/// Returns the remedy for a request whose content the service does not accept.
fn content_remedy(code: &str) -> Option<&'static str> {
    Some(match code {
        "RequestTimeout" | "RequestTimeoutException" => {
            "the upload was too slow: it is tried again; check the network"
        }
        "EntityTooLarge" | "RequestEntityTooLarge" | "RequestEntityTooLargeException" => TOO_LARGE,
        "MissingContentLength" => "a server on the way removes the length of the body: check proxies",
        "InvalidBucketName" => "correct publishers.s3_bucket",
        "InvalidRequest"
        | "InvalidArgument"
        | "ValidationException"
        | "MalformedXML"
        | "SerializationException" => "correct what it names",
        _ => return None,
    })
}

/// Returns the remedy for an answer without an error code.
fn status_remedy(status: u16) -> Option<&'static str> {
    Some(match status {
        300..=399 => "the server redirects the request: correct the region or AWS_ENDPOINT_URL",
        401 | 403 => "allow this call to this role, and check proxies on the way",
        404 | 405 => "nothing of this name exists there: correct AWS_ENDPOINT_URL",
        408 => "the upload was too slow: it is tried again; check the network",
        411 => "a server on the way removes the length of the body: check proxies",
        413 => TOO_LARGE,
        429 | 503 => "the server is busy: it is tried again automatically",
        400..=499 => "the server rejects the request: correct AWS_ENDPOINT_URL, and check proxies on the way",
        500..=599 => "a fault of the server or of a proxy in front of it: it is tried again automatically",
        _ => return None,
    })
}

fn is_denial(code: &str) -> bool {
    code.starts_with("AccessDenied")
        || matches!(
            code,
            "NotAuthorizedException" | "UnauthorizedOperation" | "Forbidden" | "AuthorizationError"
        )
}

fn is_service_fault(code: &str) -> bool {
    matches!(
        code,
        "InternalError"
            | "InternalFailure"
            | "InternalServerError"
            | "InternalFailureException"
            | "ServiceUnavailable"
            | "ServiceUnavailableException"
            | "Busy"
    )
}

fn is_throttle(code: &str) -> bool {
    code.contains("Throttl")
        || matches!(
            code,
            "SlowDown"
                | "ProvisionedThroughputExceededException"
                | "RequestLimitExceeded"
                | "TooManyRequestsException"
                | "TooManyRequests"
                | "BandwidthLimitExceeded"
                | "PriorRequestNotComplete"
                | "EC2ThrottledException"
                | "ClientLimitExceededException"
                | "ConnectionLimitExceededException"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_issuer_is_to_be_added_to_the_bundle_that_there_is() {
        let text = "invalid peer certificate: unknownissuer";
        let bundle = |refused: &[usize]| Bundle {
            setting: "AWS_CA_BUNDLE".to_owned(),
            path: "/etc/corp.pem".into(),
            refused: refused.to_vec(),
        };
        for (bundle, words) in [
            (None, "name a file with the issuer's certificate (PEM) in AWS_CA_BUNDLE"),
            (Some(bundle(&[])), "neither /etc/corp.pem (AWS_CA_BUNDLE) nor the system trusts the issuer"),
            (Some(bundle(&[])), "add the issuer's certificate (PEM) to that file"),
            (Some(bundle(&[2, 5])), "cannot be used: number 2, 5"),
        ] {
            let remedy = certificate_remedy(text, bundle.as_ref());
            assert!(remedy.contains(words), "{remedy}");
        }
        let renewed = certificate_remedy("invalid peer certificate: badsignature", Some(&bundle(&[])));
        assert!(renewed.contains("another key") && renewed.contains("to that file"), "{renewed}");
        assert!(certificate_remedy("certificate expired", Some(&bundle(&[]))).contains("have it renewed"));
    }

    #[test]
    fn a_proxy_that_asks_for_a_login_by_table() {
        let proxy = |has_login| ProxyAddress { address: "http://p.test:3128".to_owned(), has_login };
        for (proxy, words) in [
            (Some(proxy(false)), "the proxy http://p.test:3128 requires a user and password"),
            (Some(proxy(true)), "the proxy http://p.test:3128 refuses the user and password"),
            (None, "a proxy on the way requires a user and password"),
        ] {
            assert!(login_remedy(proxy.as_ref()).contains(words), "{proxy:?}");
        }
        let refused = transport_remedy("tunnel error: proxy authorization required", Some(&proxy(true)));
        assert!(refused.unwrap().contains("refuses the user and password"));
    }
}
