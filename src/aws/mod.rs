//! Access to AWS and to web servers: HTTP clients with their certificates and proxies, credentials, and the remedy for
//! each failed call.
//!
//! Every client of the program is built here, so that `AWS_CA_BUNDLE`, the proxies of the environment and the check that
//! an answer comes from AWS apply to all of them.

mod certificates;
mod credentials;
mod endpoint;
mod failure;
mod foreign;
mod http_client;
mod profiles;
mod proxies;
mod remedy;
mod resource;
mod web_client;

pub use credentials::{NoUsableCredentials, ReloadedCredentials, missing_profile, unusable_credentials};
pub(crate) use endpoint::has_own_s3;
pub use failure::{AwsFailure, S3_REGION_HEADER};
pub use foreign::{describe_foreign, has_request_id, text_for_footage, without_secrets};
pub use http_client::{EnvironmentError, new_http_client, validate_environment};
pub use remedy::FOREIGN_REMEDY;
pub use resource::AwsResource;
pub use web_client::{explain_web_error, foreign_page, new_web_client};
