//! What this build is.

use compat::http::BuildInfo;

/// What is known of the build; `unknown` where it was not told at compile time.
pub fn build_info() -> BuildInfo {
    let known = |value: Option<&'static str>| value.unwrap_or("unknown").to_owned();
    BuildInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: known(option_env!("QUIVER_REVISION")),
        branch: known(option_env!("QUIVER_BRANCH")),
        build_user: known(option_env!("QUIVER_BUILD_USER")),
        build_date: known(option_env!("QUIVER_BUILD_DATE")),
        compiler: concat!("rust ", env!("CARGO_PKG_RUST_VERSION"), "+").to_owned(),
    }
}

/// The text of `--version`, in the form of Thanos.
pub fn version_text() -> String {
    let build = build_info();
    format!(
        "quiver, version {} (branch: {}, revision: {})\n  build user:       {}\n  build date:       {}\n  compiler:         {}\n  \
         platform:         {}/{}\n",
        build.version,
        build.branch,
        build.revision,
        build.build_user,
        build.build_date,
        build.compiler,
        std::env::consts::OS,
        std::env::consts::ARCH,
    )
}
