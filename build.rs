//! Passes on what nginx-sys learned from nginx's `configure`, so that code can
//! ask `cfg(ngx_feature = "http_v2")`, `cfg(nginx_1_23)` and the like.

use std::env;

/// Versions of nginx, as it counts them, from which on something is different.
const VERSIONS: [(&str, u32); 1] = [("nginx_1_23", 1_023_000)];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for (kind, known, found) in [
        (
            "ngx_feature",
            "DEP_NGINX_FEATURES_CHECK",
            "DEP_NGINX_FEATURES",
        ),
        ("ngx_os", "DEP_NGINX_OS_CHECK", "DEP_NGINX_OS"),
    ] {
        println!("cargo::rerun-if-env-changed={found}");
        if let Ok(values) = env::var(known) {
            println!("cargo::rustc-check-cfg=cfg({kind}, values({values}))");
        }
        for value in env::var(found).unwrap_or_default().split(',') {
            if !value.is_empty() {
                println!("cargo::rustc-cfg={kind}=\"{value}\"");
            }
        }
    }
    let features = env::var("DEP_NGINX_FEATURES").unwrap_or_default();
    if !features.split(',').any(|feature| feature == "http_ssl") {
        println!("cargo::error=nginx was configured without TLS: --with-http_ssl_module is needed");
    }
    println!("cargo::rerun-if-env-changed=DEP_NGINX_VERSION_NUMBER");
    let version = env::var("DEP_NGINX_VERSION_NUMBER").unwrap_or_default();
    let version: u32 = version.parse().expect("nginx-sys says nginx's version");
    for (name, first) in VERSIONS {
        println!("cargo::rustc-check-cfg=cfg({name})");
        if version >= first {
            println!("cargo::rustc-cfg={name}");
        }
    }
}
