//! Only requests that name this machine are answered: a page on the internet may point its own
//! name at 127.0.0.1 (DNS rebinding), and then its scripts would read private content.

use axum::{
    extract::Request,
    http::{StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

/// Refuses any other `Host`.
pub async fn only_local_names(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if is_local(host) {
        return next.run(request).await;
    }
    (StatusCode::FORBIDDEN, format!("this node does not answer to the name `{host}`; use localhost or 127.0.0.1\n"))
        .into_response()
}

fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    matches!(name, "localhost" | "127.0.0.1" | "[::1]") || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::is_local;

    #[test]
    fn only_names_of_this_machine_pass() {
        for good in ["localhost", "localhost:7703", "127.0.0.1:1", "[::1]:80", "[::1]", "bafy.ipfs.localhost:7703"] {
            assert!(is_local(good), "{good}");
        }
        for bad in ["", "evil.example", "127.0.0.1.evil.example:80", "localhost.evil.example", "evil:localhost"] {
            assert!(!is_local(bad), "{bad}");
        }
    }
}
