//! The addresses of the page's views.

/// The addresses of the views beside `/`: each is answered with the page, which shows the view.
pub(super) const VIEWS: [&str; 5] = ["/incidents", "/incidents/{id}", "/zones", "/zones/{camera}", "/system"];

/// Maximum length of an address that a sign-in returns to, bytes.
const MAX_ADDRESS_BYTES: usize = 1024;

/// Returns the path and query if they are the address of a view, and `/` otherwise: a sign-in must not lead to another site.
pub(super) fn view_or_root(wanted: &str) -> &str {
    // Also without a backslash, which browsers read as a slash.
    let is_plain = wanted.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_plain && wanted.len() <= MAX_ADDRESS_BYTES && is_view(wanted) { wanted } else { "/" }
}

fn is_view(wanted: &str) -> bool {
    let path = wanted.split('?').next().unwrap_or_default();
    path == "/" || VIEWS.iter().any(|view| first_part(view) == first_part(path))
}

/// Returns the first part of a path with its slash, such as `/incidents` of `/incidents/{id}`.
fn first_part(path: &str) -> &str {
    path.match_indices('/').nth(1).map_or(path, |(end, _)| &path[..end])
}

/// Returns the text for an attribute of HTML in double quotes.
pub(super) fn attribute(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_views_are_returned_to() {
        for view in [
            "/",
            "/?camera=gate",
            "/incidents",
            "/incidents/0a1b?camera=gate&text=B-AX",
            "/incidents/%22%3E",
            "/zones/gate",
            "/system",
        ] {
            assert_eq!(view_or_root(view), view);
        }
        let long = format!("/incidents?text={}", "x".repeat(MAX_ADDRESS_BYTES));
        for other in [
            "",
            "//evil.example",
            "//evil.example/incidents",
            "/\\evil.example",
            "/incidents\\..\\..\\evil",
            "https://evil.example/incidents",
            "incidents",
            "/api/incidents",
            "/logout",
            "/incidentsx",
            "/incidents\r\nSet-Cookie: a=b",
            "/incidents/ä",
            "/incidents/a b",
            &long,
        ] {
            assert_eq!(view_or_root(other), "/", "{other:?}");
        }
    }

    #[test]
    fn an_attribute_stays_one() {
        assert_eq!(attribute(r#"/incidents?text="><b>&"#), "/incidents?text=&quot;&gt;&lt;b&gt;&amp;");
    }
}
