//! What the parser accepts beyond stable PromQL, and how much of it.

/// Which experimental syntax is understood, and how large a query may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseOptions {
    /// Experimental functions and the aggregations `limitk` and `limit_ratio` (Prometheus's `promql-experimental-functions`).
    pub experimental_functions: bool,
    /// Arithmetic in ranges, steps and offsets (`promql-duration-expr`).
    pub duration_expressions: bool,
    /// `anchored` and `smoothed` (`promql-extended-range-selectors`).
    pub extended_range_selectors: bool,
    /// `fill`, `fill_left` and `fill_right` (`promql-binop-fill-modifiers`).
    pub fill_modifiers: bool,
    /// Length of a query in bytes.
    pub max_length: usize,
    /// Height of a query's tree, and nesting of its text.
    pub max_depth: usize,
    /// Number of expressions in a query.
    pub max_nodes: usize,
}

impl ParseOptions {
    /// All experimental syntax on.
    #[must_use]
    pub fn experimental() -> Self {
        Self {
            experimental_functions: true,
            duration_expressions: true,
            extended_range_selectors: true,
            fill_modifiers: true,
            ..Self::default()
        }
    }
}

impl Default for ParseOptions {
    /// Stable PromQL; 64 KiB of text, 512 levels, 16,384 expressions.
    fn default() -> Self {
        Self {
            experimental_functions: false,
            duration_expressions: false,
            extended_range_selectors: false,
            fill_modifiers: false,
            max_length: 64 * 1024,
            max_depth: 512,
            max_nodes: 16 * 1024,
        }
    }
}
