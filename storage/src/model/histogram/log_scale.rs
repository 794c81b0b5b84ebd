//! Binary logarithm and power, to the bit as Go's `math.Log2` and `math.Exp2` compute them.
//!
//! Quantiles inside exponential buckets are interpolated on a logarithmic scale, and answers agree with
//! Prometheus's to the last digit only if both functions do. The platform's own round differently in the last place.
//! The polynomials are those of FreeBSD's `e_log.c` and `e_exp.c`, which Go uses too.

use super::bounds::scale;

const LN_2_HIGH: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
const LN_2_LOW: f64 = f64::from_bits(0x3dea_39ef_3579_3c76);

/// The binary logarithm: exact for powers of two, NaN below zero, −Inf at zero.
#[must_use]
pub fn log2(x: f64) -> f64 {
    if x.is_nan() || x == f64::INFINITY {
        return x;
    }
    if x < 0.0 {
        return f64::NAN;
    }
    if x == 0.0 {
        return f64::NEG_INFINITY;
    }
    let (fraction, exponent) = split(x);
    if fraction == 0.5 {
        return f64::from(exponent - 1);
    }
    ln_of_fraction(fraction) * std::f64::consts::LOG2_E + f64::from(exponent)
}

/// `x`, positive and finite, as a fraction within [0.5, 1) and a power of two.
fn split(x: f64) -> (f64, i32) {
    let (normal, shift) = if x.is_normal() { (x, 0) } else { (x * 2_f64.powi(64), 64) };
    let bits = normal.to_bits();
    let exponent = i32::try_from(bits >> 52 & 0x7ff).unwrap_or(0) - 1022 - shift;
    (f64::from_bits(bits & !(0x7ff << 52) | 1022 << 52), exponent)
}

/// The natural logarithm of a value within [0.5, 1).
fn ln_of_fraction(fraction: f64) -> f64 {
    const L1: f64 = f64::from_bits(0x3FE5_5555_5555_5593);
    const L2: f64 = f64::from_bits(0x3FD9_9999_9997_FA04);
    const L3: f64 = f64::from_bits(0x3FD2_4924_9422_9359);
    const L4: f64 = f64::from_bits(0x3FCC_71C5_1D8E_78AF);
    const L5: f64 = f64::from_bits(0x3FC7_4664_96CB_03DE);
    const L6: f64 = f64::from_bits(0x3FC3_9A09_D078_C69F);
    const L7: f64 = f64::from_bits(0x3FC2_F112_DF3E_5244);

    let (f, k) =
        if fraction <= std::f64::consts::FRAC_1_SQRT_2 { (fraction * 2.0 - 1.0, -1.0) } else { (fraction - 1.0, 0.0) };
    let s = f / (2.0 + f);
    let s2 = s * s;
    let s4 = s2 * s2;
    let t1 = s2 * (L1 + s4 * (L3 + s4 * (L5 + s4 * L7)));
    let t2 = s4 * (L2 + s4 * (L4 + s4 * L6));
    let r = t1 + t2;
    let half_square = 0.5 * f * f;
    k * LN_2_HIGH - ((half_square - (s * (half_square + r) + k * LN_2_LOW)) - f)
}

/// 2 to the power of `x`.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the range was checked, and truncation is the algorithm's rounding"
)]
pub fn exp2(x: f64) -> f64 {
    const P1: f64 = f64::from_bits(0x3FC5_5555_5555_5555);
    const P2: f64 = f64::from_bits(0xBF66_C16C_16BE_BD93);
    const P3: f64 = f64::from_bits(0x3F11_566A_AF25_DE2C);
    const P4: f64 = f64::from_bits(0xBEBB_BD41_C5D2_6BF1);
    const P5: f64 = f64::from_bits(0x3E66_3769_72BE_A4D0);

    if x.is_nan() {
        return x;
    }
    if x > 1_023.999_999_999_999_9 {
        return f64::INFINITY;
    }
    if x < -1074.0 {
        return 0.0;
    }
    let k = if x > 0.0 { (x + 0.5) as i32 } else { (x - 0.5) as i32 };
    let t = x - f64::from(k);
    let high = t * LN_2_HIGH;
    let low = -t * LN_2_LOW;
    let r = high - low;
    let t = r * r;
    let c = r - t * (P1 + t * (P2 + t * (P3 + t * (P4 + t * P5))));
    let y = 1.0 - ((low - (r * c) / (2.0 - c)) - high);
    scale(y, i64::from(k))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Arguments and results of Go 1.26 on amd64, as bits.
    const LOG2: &[(u64, u64)] = &[
        (0x3fe6_a09e_667f_3bcd, 0xbfdf_ffff_ffff_fffe),
        (0x0000_0000_0000_30cd, 0xc090_9190_8e41_5e74),
        (0x3eff_4844_4aa3_8f78, 0xc02e_10c1_6bb1_7af0),
        (0x440e_f372_c544_6ca7, 0x4050_7cec_2353_9f97),
        (0x4083_e49d_4332_0f60, 0x4022_a0dd_9be5_e0ca),
        (0x4100_49be_62e1_f960, 0x4031_0697_17bd_acff),
        (0x4037_f457_ec63_d8a1, 0x4012_5432_35a3_94eb),
        (0x41b7_4d22_4d28_8a25, 0x403c_8ad6_b7ad_edaf),
        (0x3e9d_d975_787f_579a, 0xc035_19b1_b137_1587),
        (0x412b_f322_55b6_5ffe, 0x4033_ce04_f444_94d7),
        (0x42ca_d136_6d48_33a3, 0x4046_df5f_10e4_aede),
        (0x4172_320c_7c8a_94a3, 0x4038_2f7d_95dc_601c),
        (0x4246_4385_6827_9651, 0x4042_bd02_0c39_4bdd),
        (0x40e2_96ae_f58b_7c29, 0x402e_6ec5_00f0_f2b4),
        (0x4141_8e11_c2e7_f341, 0x4035_2241_279a_f27c),
        (0x3e00_6359_ea7e_eaca, 0xc03e_f726_08f2_bb5f),
        (0x4132_650b_c235_f2af, 0x4034_3383_17f5_99d6),
        (0x40b5_e084_9c30_8b83, 0x4028_e716_a23f_c7c5),
        (0x41bc_b3e2_1006_1a3e, 0x403c_d7d6_4015_51b1),
        (0x3d30_4f14_5520_6083, 0xc045_fc77_ffb1_12b0),
        (0x3f5d_2cd3_79f2_01cb, 0xc022_4444_61bc_839d),
        (0x4356_eb05_c1b9_2d0f, 0x404b_425b_59d0_6137),
        (0x41eb_1a21_10f1_6e75, 0x403f_c2a5_0d25_1d7a),
        (0x3e24_787d_d8e2_efa4, 0xc03c_a4fe_d744_ec0e),
    ];
    const EXP2: &[(u64, u64)] = &[
        (0xc090_c599_9999_999a, 0x0000_0000_0000_0002),
        (0x408f_fd99_9999_999a, 0x7fe9_fdf8_bcce_5424),
        (0xc090_1900_0000_0000, 0x0000_0d74_4fcc_ad6a),
        (0xc045_83ad_8b5d_f1a1, 0x3d3f_5e74_f2a6_cc03),
        (0x4005_f9df_0d9e_8c42, 0x401a_da59_741f_7c33),
        (0x4021_b680_f288_50fe, 0x407c_f823_8bda_8516),
        (0xc030_ec00_d132_6d92, 0x3ee0_e3e2_a1ab_26c8),
        (0xbffa_7e91_b6db_8234, 0x3fd4_4f4a_9d5e_fc2d),
        (0x4008_faf0_f58c_9b1f, 0x4021_6b14_1d43_9eb9),
        (0xc03d_0330_e8b9_c965, 0x3e1f_b986_6df2_9c92),
        (0x4016_6126_bf69_9468, 0x4048_2a5b_63dc_f6dd),
        (0xc041_6399_b265_ed29, 0x3dc2_a8f1_7d7c_793e),
        (0x402c_1c29_a54a_99bf, 0x40d0_9f2e_ac4a_adfc),
        (0x401b_b0ec_b224_b494, 0x405e_550a_a0ee_9ada),
        (0xc035_6412_8cbd_de20, 0x3e98_679f_c92b_c0c6),
        (0xc030_aa3f_f141_fd6b, 0x3ee4_2e77_125d_8ba4),
        (0x401a_6c53_9d31_c904, 0x4058_5954_d9ae_baf8),
        (0x4041_7519_4d24_7ca4, 0x421e_2a67_dca8_7cd1),
        (0xc036_6a0e_6008_c2e2, 0x3e88_0338_0c2f_1808),
        (0x402e_459e_c187_4a1b, 0x40e1_94d5_a91f_513f),
        (0x4032_8bc4_a6cf_4041, 0x4117_5c2a_11f5_9fac),
        (0xc03d_1c30_93b9_ecad, 0x3e1d_a5ff_7700_0f82),
        (0x4033_75ef_9ffe_004a, 0x4126_04e7_c752_3ced),
        (0xc017_9df9_c2e9_0902, 0x3f91_1900_32ac_18b5),
    ];

    #[test]
    fn same_bits_as_go() {
        for &(x, expected) in LOG2 {
            assert_eq!(log2(f64::from_bits(x)).to_bits(), expected, "log2({})", f64::from_bits(x));
        }
        for &(x, expected) in EXP2 {
            assert_eq!(exp2(f64::from_bits(x)).to_bits(), expected, "exp2({})", f64::from_bits(x));
        }
    }

    #[test]
    fn special_values() {
        assert!(log2(-1.0).is_nan() && log2(f64::NAN).is_nan() && exp2(f64::NAN).is_nan());
        assert_eq!(log2(0.0), f64::NEG_INFINITY);
        assert_eq!(log2(f64::INFINITY), f64::INFINITY);
        assert_eq!(log2(8.0), 3.0);
        assert_eq!(exp2(f64::INFINITY), f64::INFINITY);
        assert_eq!(exp2(f64::NEG_INFINITY), 0.0);
        assert_eq!(exp2(-3.0), 0.125);
    }
}
