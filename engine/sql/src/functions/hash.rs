//! Hashes (reference, section 14.8).

use engine_event::Value;
use md5::Md5;
use sha1::{Digest, Sha1};
use sha2::{Sha224, Sha256, Sha384, Sha512};

use super::encode::hex_lower;
use super::{Arg, Args, Example, FunctionDef, Type};

/// Functions of this group.
pub(super) const FUNCTIONS: &[FunctionDef] = &[MD5, SHA, SHA256, HASH];

const DATA: &[Arg] = &[Arg::text("data")];

const MD5: FunctionDef = FunctionDef {
    name: "md5",
    args: DATA,
    returns: Type::Text,
    summary: "The MD5 hash in lower-case hex. Fails on anything but a text.",
    examples: &[
        Example::new("md5('abc')", "'900150983cd24fb0d6963f7d28e17f72'"),
        Example::new("md5('')", "'d41d8cd98f00b204e9800998ecf8427e'"),
        Example::fails("md5(1)"),
        Example::fails("md5(undefined)"),
    ],
    eval: |args| Ok(digest::<Md5>(args.text(0)?.as_bytes())),
};

const SHA: FunctionDef = FunctionDef {
    name: "sha",
    args: DATA,
    returns: Type::Text,
    summary: "The SHA-1 hash in lower-case hex. Fails on anything but a text.",
    examples: &[
        Example::new("sha('hello')", "'aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d'"),
        Example::fails("sha(1)"),
        Example::fails("sha(undefined)"),
    ],
    eval: |args| Ok(digest::<Sha1>(args.text(0)?.as_bytes())),
};

const SHA256: FunctionDef = FunctionDef {
    name: "sha256",
    args: DATA,
    returns: Type::Text,
    summary: "The SHA-256 hash in lower-case hex. Fails on anything but a text.",
    examples: &[
        Example::new("sha256('x')", "'2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881'"),
        Example::fails("sha256(1)"),
        Example::fails("sha256(undefined)"),
    ],
    eval: |args| Ok(digest::<Sha256>(args.text(0)?.as_bytes())),
};

/// Hashes bytes to hex.
type Digester = fn(&[u8]) -> Value;

/// The algorithms of `hash`, with their code.
const ALGORITHMS: [(&str, Digester); 14] = [
    ("md4", digest::<md4::Md4>),
    ("md5", digest::<Md5>),
    ("sha", digest::<Sha1>),
    ("sha1", digest::<Sha1>),
    ("sha224", digest::<Sha224>),
    ("sha256", digest::<Sha256>),
    ("sha384", digest::<Sha384>),
    ("sha512", digest::<Sha512>),
    ("sha3_224", digest::<sha3::Sha3_224>),
    ("sha3_256", digest::<sha3::Sha3_256>),
    ("sha3_384", digest::<sha3::Sha3_384>),
    ("sha3_512", digest::<sha3::Sha3_512>),
    ("blake2b", digest::<blake2::Blake2b512>),
    ("blake2s", digest::<blake2::Blake2s256>),
];

const HASH: FunctionDef = FunctionDef {
    name: "hash",
    args: &[Arg::text("algorithm"), Arg::text("data")],
    returns: Type::Text,
    summary: "The hash by the algorithm of that name, in lower-case hex: md4, md5, sha, sha1, sha224, sha256, sha384, \
              sha512, sha3_224, sha3_256, sha3_384, sha3_512, blake2b, blake2s. Fails on other names and on anything \
              but texts.",
    examples: &[
        Example::new(
            "hash('sha256', 'x')",
            "'2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881'",
        ),
        Example::new("hash('md4', 'abc')", "'a448017aaf21d8525fc10ae87aa6729d'"),
        Example::new("hash('sha1', 'abc') ", "'a9993e364706816aba3e25717850c26c9cd0d89d'"),
        Example::new("hash('sha224', 'abc')", "'23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7'"),
        Example::new(
            "hash('sha3_256', 'abc')",
            "'3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532'",
        ),
        Example::new(
            "hash('blake2s', 'abc')",
            "'508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982'",
        ),
        Example::fails("hash('crc32', 'x')"),
        Example::fails("hash('md5', undefined)"),
    ],
    eval: hash,
};

fn hash(args: &Args<'_>) -> Result<Value, crate::EvalError> {
    let algorithm = args.one_of(0, &ALGORITHMS.map(|(name, _)| name))?;
    Ok(ALGORITHMS[algorithm].1(args.text(1)?.as_bytes()))
}

fn digest<D: Digest>(data: &[u8]) -> Value {
    Value::from(hex_lower(&D::digest(data)))
}
