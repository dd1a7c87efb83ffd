//! Passes on what nginx-sys learned from nginx's `configure`, so that code can
//! ask `cfg(ngx_feature = "http_v2")` and the like.

use std::env;

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
}
