//! Flags that choose blocks of a bucket.

use std::path::PathBuf;

use clap::Args;

/// Which blocks of a bucket are looked at.
#[derive(Debug, Clone, Args)]
pub struct SelectFlags {
    /// Only blocks that hold later samples: a time of RFC 3339, or a duration before now as -6w
    #[arg(long = "min-time", value_name = "TIME", default_value = "0000-01-01T00:00:00Z", allow_hyphen_values = true)]
    pub min_time: String,
    /// Only blocks that hold earlier samples
    #[arg(long = "max-time", value_name = "TIME", default_value = "9999-12-31T23:59:59Z", allow_hyphen_values = true)]
    pub max_time: String,
    #[command(flatten)]
    pub relabel: RelabelSelectFlags,
}

/// Which blocks of a bucket are looked at, by their labels.
#[derive(Debug, Clone, Args)]
pub struct RelabelSelectFlags {
    /// File with rules of relabelling that choose blocks by their external labels and __block_id, to share a bucket's work
    #[arg(long = "selector.relabel-config-file", value_name = "FILE", conflicts_with = "relabel_config")]
    pub relabel_config_file: Option<PathBuf>,
    /// The rules themselves
    #[arg(long = "selector.relabel-config", value_name = "YAML", allow_hyphen_values = true)]
    pub relabel_config: Option<String>,
}
