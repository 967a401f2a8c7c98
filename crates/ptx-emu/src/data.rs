// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Element types of launch files. In: names, numbers, bytes. Out: bytes, numbers.

use half::{bf16, f16};

/// An element type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dtype {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    U64,
    I32,
    U32,
    I16,
    U16,
    I8,
    U8,
}

impl Dtype {
    pub(crate) fn from_name(s: &str) -> Option<Self> {
        Some(match s {
            "f64" => Self::F64,
            "f32" => Self::F32,
            "f16" => Self::F16,
            "bf16" => Self::Bf16,
            "i64" => Self::I64,
            "u64" => Self::U64,
            "i32" => Self::I32,
            "u32" => Self::U32,
            "i16" => Self::I16,
            "u16" => Self::U16,
            "i8" => Self::I8,
            "u8" => Self::U8,
            _ => return None,
        })
    }

    /// Bytes of an element.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::I8 | Self::U8 => 1,
        }
    }

    fn range(self) -> Option<(i128, i128)> {
        match self {
            Self::F64 | Self::F32 | Self::F16 | Self::Bf16 => None,
            Self::I64 => Some((i64::MIN.into(), i64::MAX.into())),
            Self::U64 => Some((0, u64::MAX.into())),
            Self::I32 => Some((i32::MIN.into(), i32::MAX.into())),
            Self::U32 => Some((0, u32::MAX.into())),
            Self::I16 => Some((i16::MIN.into(), i16::MAX.into())),
            Self::U16 => Some((0, u16::MAX.into())),
            Self::I8 => Some((i8::MIN.into(), i8::MAX.into())),
            Self::U8 => Some((0, u8::MAX.into())),
        }
    }

    /// The bytes of a JSON value, or why there are none.
    pub(crate) fn encode(self, v: &serde_json::Value) -> Result<Vec<u8>, String> {
        if let Some((lo, hi)) = self.range() {
            let n = v
                .as_i64()
                .map(i128::from)
                .or_else(|| v.as_u64().map(i128::from));
            // A whole number may be written with a fraction of zero.
            let n = n.or_else(|| {
                v.as_f64()
                    .filter(|f| f.fract() == 0.0 && f.abs() < 9e15)
                    .map(|f| f as i128)
            });
            let n = n.ok_or_else(|| format!("{v} is no integer"))?;
            if n < lo || n > hi {
                return Err(format!("{n} is out of range"));
            }
            return Ok(n.to_le_bytes()[..self.size()].to_vec());
        }
        let x = match v.as_str() {
            Some("inf") => f64::INFINITY,
            Some("-inf") => f64::NEG_INFINITY,
            Some("nan") => {
                // The quiet NaN with a clear sign and payload.
                return Ok(match self {
                    Self::F64 => 0x7ff8_0000_0000_0000u64.to_le_bytes().to_vec(),
                    Self::F16 => 0x7e00u16.to_le_bytes().to_vec(),
                    Self::Bf16 => 0x7fc0u16.to_le_bytes().to_vec(),
                    _ => 0x7fc0_0000u32.to_le_bytes().to_vec(),
                });
            }
            Some(s) => return Err(format!("`{s}` is no number")),
            None => v.as_f64().ok_or_else(|| format!("{v} is no number"))?,
        };
        Ok(match self {
            Self::F64 => x.to_le_bytes().to_vec(),
            Self::F16 => f16::from_f64(x).to_le_bytes().to_vec(),
            Self::Bf16 => bf16::from_f64(x).to_le_bytes().to_vec(),
            _ => (x as f32).to_le_bytes().to_vec(),
        })
    }

    /// All elements as f64.
    pub(crate) fn widen(self, b: &[u8]) -> Vec<f64> {
        let bits = |c: &[u8]| {
            let mut v = [0u8; 8];
            v[..c.len()].copy_from_slice(c);
            u64::from_le_bytes(v)
        };
        let f: fn(u64) -> f64 = match self {
            Self::F64 => f64::from_bits,
            Self::F32 => |v| f32::from_bits(v as u32).into(),
            Self::F16 => |v| f16::from_bits(v as u16).to_f64(),
            Self::Bf16 => |v| bf16::from_bits(v as u16).to_f64(),
            Self::I64 => |v| v as i64 as f64,
            Self::U64 => |v| v as f64,
            Self::I32 => |v| (v as u32 as i32).into(),
            Self::U32 => |v| (v as u32).into(),
            Self::I16 => |v| (v as u16 as i16).into(),
            Self::U16 => |v| (v as u16).into(),
            Self::I8 => |v| (v as u8 as i8).into(),
            Self::U8 => |v| (v as u8).into(),
        };
        b.chunks_exact(self.size()).map(|c| f(bits(c))).collect()
    }
}
