//! Compression (reference, section 14.8).

use std::io::Read;

use engine_event::Value;
use flate2::Compression;
use flate2::read::{DeflateDecoder, DeflateEncoder, GzEncoder, MultiGzDecoder, ZlibDecoder, ZlibEncoder};

use crate::EvalError;

use super::{Arg, Args, Example, FunctionDef, Type};

/// Functions of this group.
pub(super) const FUNCTIONS: &[FunctionDef] = &[GZIP, GUNZIP, ZIP, UNZIP, ZIP_COMPRESS, ZIP_UNCOMPRESS];

/// Bytes that something may have when it is unpacked.
const UNPACKED_BYTES_MAX: u64 = 64 << 20;

const DATA: &[Arg] = &[Arg::text("data")];

const GZIP: FunctionDef = FunctionDef {
    name: "gzip",
    args: DATA,
    returns: Type::Text,
    summary: "The data packed in the gzip format. Fails on anything but a text.",
    examples: &[
        Example::new("gunzip(gzip('abc'))", "'abc'"),
        Example::new("substr(bin2hexstr(gzip('abc')), 0, 4)", "'1F8B'"),
        Example::fails("gzip(1)"),
        Example::fails("gzip(undefined)"),
    ],
    eval: |args| read_all(args, GzEncoder::new(args.text(0)?.as_bytes(), Compression::default())),
};

const GUNZIP: FunctionDef = FunctionDef {
    name: "gunzip",
    args: DATA,
    returns: Type::Text,
    summary: "Data in the gzip format, unpacked to at most 64 MiB. Fails on anything else.",
    examples: &[
        Example::new("gunzip(gzip(''))", "''"),
        Example::fails("gunzip('abc')"),
        Example::fails("gunzip('')"),
        Example::fails("gunzip(undefined)"),
    ],
    eval: |args| read_all(args, MultiGzDecoder::new(args.text(0)?.as_bytes())),
};

const ZIP: FunctionDef = FunctionDef {
    name: "zip",
    args: DATA,
    returns: Type::Text,
    summary: "The data packed as a raw deflate stream. Fails on anything but a text.",
    examples: &[
        Example::new("unzip(zip('abc'))", "'abc'"),
        Example::fails("zip(1)"),
        Example::fails("zip(undefined)"),
    ],
    eval: |args| read_all(args, DeflateEncoder::new(args.text(0)?.as_bytes(), Compression::default())),
};

const UNZIP: FunctionDef = FunctionDef {
    name: "unzip",
    args: DATA,
    returns: Type::Text,
    summary: "A raw deflate stream, unpacked to at most 64 MiB. Fails on anything else.",
    examples: &[
        Example::new("unzip(zip(''))", "''"),
        Example::fails("unzip(hexstr2bin('ff'))"),
        Example::fails("unzip(undefined)"),
    ],
    eval: |args| read_all(args, DeflateDecoder::new(args.text(0)?.as_bytes())),
};

const ZIP_COMPRESS: FunctionDef = FunctionDef {
    name: "zip_compress",
    args: DATA,
    returns: Type::Text,
    summary: "The data packed in the zlib format. Fails on anything but a text.",
    examples: &[
        Example::new("zip_uncompress(zip_compress('abc'))", "'abc'"),
        Example::new("substr(bin2hexstr(zip_compress('abc')), 0, 2)", "'78'"),
        Example::fails("zip_compress(1)"),
        Example::fails("zip_compress(undefined)"),
    ],
    eval: |args| read_all(args, ZlibEncoder::new(args.text(0)?.as_bytes(), Compression::default())),
};

const ZIP_UNCOMPRESS: FunctionDef = FunctionDef {
    name: "zip_uncompress",
    args: DATA,
    returns: Type::Text,
    summary: "Data in the zlib format, unpacked to at most 64 MiB. Fails on anything else.",
    examples: &[
        Example::new("zip_uncompress(zip_compress(''))", "''"),
        Example::fails("zip_uncompress('abc')"),
        Example::fails("zip_uncompress(undefined)"),
    ],
    eval: |args| read_all(args, ZlibDecoder::new(args.text(0)?.as_bytes())),
};

fn read_all(args: &Args<'_>, source: impl Read) -> Result<Value, EvalError> {
    let mut out = Vec::new();
    let read = source.take(UNPACKED_BYTES_MAX + 1).read_to_end(&mut out);
    match read {
        Ok(bytes) if bytes as u64 > UNPACKED_BYTES_MAX => Err(args.fail("the result is larger than 64 MiB")),
        Ok(_) => Ok(Value::Text(out.into())),
        Err(error) => Err(args.fail(format!("the data is damaged: {error}"))),
    }
}
