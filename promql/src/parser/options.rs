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
    /// Nesting of parentheses, calls, signs and right operands, which bounds the parser's own recursion.
    pub max_nesting: usize,
    /// Height of a query's tree, which bounds every recursion over it. A sum is as high as it has terms.
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
    /// Stable PromQL; 64 KiB of text, 256 levels of nesting, sums of 511 terms, 16,384 expressions.
    fn default() -> Self {
        Self {
            experimental_functions: false,
            duration_expressions: false,
            extended_range_selectors: false,
            fill_modifiers: false,
            max_length: 64 * 1024,
            max_nesting: 256,
            max_depth: 512,
            max_nodes: 16 * 1024,
        }
    }
}
