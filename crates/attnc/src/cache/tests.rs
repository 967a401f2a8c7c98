// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The cache by itself: damaged entries, keys, size, folders that cannot be trusted. Data: one small operator, made on the spot.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use attnc_codegen_cpu::Jit;
use attnc_spec::Operator;

use super::*;
use crate::engine::CacheUse;
use crate::pipeline::{Choices, Plan};
use crate::source::Source;
use crate::{Attention, Compiler, Target};

fn attention() -> Attention {
    let op = Operator::builder("small", 2, 4).branch(2, 1).branch(4, 2);
    Attention::new(op.build().unwrap()).unwrap()
}

fn choices() -> Choices {
    Choices::new(Target::native().unwrap().name())
}

fn key() -> Key {
    Key::of(&Source::from(&attention()), &choices()).unwrap()
}

/// Compiles with a cache: how the kernel came, and whether there was trouble.
fn compile(cache: &Cache) -> (CacheUse, Option<CacheError>) {
    let compiler = Compiler::with(choices()).cache(cache.clone());
    let kernel = compiler.compile(&attention()).unwrap();
    (kernel.cache(), kernel.cache_trouble().cloned())
}

/// A cache that holds the one kernel, its folder, and the kernel's file.
fn filled() -> (tempfile::TempDir, Cache, PathBuf) {
    let outer = tempfile::tempdir().unwrap();
    let cache = Cache::at(outer.path().join("a/b"));
    let (how, trouble) = compile(&cache);
    assert!(how == CacheUse::Miss && trouble.is_none(), "{trouble:?}");
    let place = cache.place(&key());
    assert!(place.is_file());
    (outer, cache, place)
}

#[test]
fn what_is_kept_is_what_was_compiled() {
    let (_outer, cache, _) = filled();
    let found = cache.get(&key()).unwrap().unwrap();
    let graph = crate::pipeline::graph(attention().operator()).unwrap();
    let fused = crate::pipeline::fuse(&graph, &choices()).unwrap();
    let core = crate::pipeline::tile(&fused.graph, &choices()).unwrap();
    let made = Jit::compile(&core).unwrap();
    assert!(found.program.functions().eq(made.functions()));
    assert_eq!(found.program.layout(), made.layout());
    for (name, _) in made.functions() {
        let count = found.program.relocations(name);
        assert_eq!(count, made.relocations(name), "{name}");
    }
    assert_eq!(found.program.to_bytes().unwrap(), made.to_bytes().unwrap());
    assert_eq!(compile(&cache).0, CacheUse::Hit);
}

#[test]
fn a_bit_turned_anywhere_is_found() {
    let (_outer, _, place) = filled();
    let good = fs::read(place).unwrap();
    assert!(entry::read(&key(), &good).is_ok());
    // Every byte of the ends, and of the kernel between them one in each 97.
    let ends = (0..200).chain(good.len() - 200..good.len());
    for at in ends.chain((200..good.len() - 200).step_by(97)) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(entry::read(&key(), &bad).is_err(), "byte {at}");
    }
    for len in (0..good.len()).step_by(1013).chain([good.len() - 1]) {
        assert!(entry::read(&key(), &good[..len]).is_err(), "{len} bytes");
    }
    assert!(entry::read(&key(), &[&good[..], b"x"].concat()).is_err());
    let mut other = key();
    other.0[7] ^= 1;
    assert!(entry::read(&other, &good).is_err());
}

#[test]
fn bytes_under_a_right_checksum_never_bring_the_reader_down() {
    use sha2::{Digest, Sha256};
    let (_outer, _, place) = filled();
    let good = fs::read(place).unwrap();
    let body = good.len() - 32;
    let mut refused = 0;
    for at in (48..body).step_by(41) {
        for value in [0x00, 0x7f, 0xff] {
            let mut bad = good[..body].to_vec();
            bad[at] = value;
            let sum = Sha256::digest(&bad);
            bad.extend_from_slice(&sum);
            refused += usize::from(entry::read(&key(), &bad).is_err());
        }
        let mut short = [&good[..48], &good[48..at]].concat();
        let sum = Sha256::digest(&short);
        short.extend_from_slice(&sum);
        assert!(entry::read(&key(), &short).is_err());
    }
    assert!(refused > 0);
}

#[test]
fn damaged_entries_are_replaced_with_one_word_about_it() {
    let (_outer, cache, place) = filled();
    let good = fs::read(&place).unwrap();
    let mut turned = good.clone();
    turned[good.len() / 2] ^= 4;
    for bad in [&turned[..], &good[..good.len() / 2], b"", &[0u8; 4096]] {
        fs::write(&place, bad).unwrap();
        let (how, trouble) = compile(&cache);
        assert_eq!(how, CacheUse::Miss);
        assert!(matches!(trouble, Some(CacheError::Corrupt { .. })));
        assert_eq!(fs::read(&place).unwrap(), good);
        let again = compile(&cache);
        assert!(again.0 == CacheUse::Hit && again.1.is_none());
    }
}

#[test]
fn everything_that_decides_a_kernel_is_in_its_key() {
    let source = Source::from(&attention());
    let mut renamed = attention().operator().clone();
    renamed.name = "other".to_owned();
    let mut wider = attention().operator().clone();
    wider.branches[1].dilation = 4;
    let graph = Source::Graph(crate::pipeline::graph(attention().operator()).unwrap());
    let with = |f: &dyn Fn(&mut Choices)| {
        let mut c = choices();
        f(&mut c);
        c
    };
    let share = with(&|c| c.plan = Plan::Share);
    let each = with(&|c| c.plan = Plan::Each);
    let without = with(&|c| c.without = vec!["flash".to_owned()]);
    let both = with(&|c| c.without = vec!["flash".to_owned(), "exp2".to_owned()]);
    let base = with(&|c| c.target = std::env::consts::ARCH.to_owned());
    let mut keys = vec![
        Key::by("another compiler", &source, &choices()),
        Key::of(&Source::from(&renamed), &choices()),
        Key::of(&Source::from(&wider), &choices()),
        Key::of(&graph, &choices()),
    ];
    for c in [&choices(), &share, &each, &without, &both] {
        keys.push(Key::of(&source, c));
    }
    if base.target != choices().target {
        keys.push(Key::of(&source, &base));
    }
    let names: BTreeSet<String> = keys.iter().map(|k| k.unwrap().file_name()).collect();
    assert_eq!(names.len(), keys.len());
    // Whether a proof is kept changes nothing, and no code is made here for another processor.
    let proof = with(&|c| c.proof = true);
    assert_eq!(Key::of(&source, &proof), Key::of(&source, &choices()));
    assert_eq!(
        Key::of(&source, &with(&|c| c.target = "sm_80".to_owned())),
        None
    );
}

#[test]
fn its_size_is_bounded_and_what_was_not_used_for_longest_goes_first() {
    let (_outer, cache, place) = filled();
    let size = fs::metadata(&place).unwrap().len();
    let made = cache.get(&key()).unwrap().unwrap();
    let cache = cache.limit(size * 8 + size / 2);
    let other = |i: u8| Key([i; 32]);
    let aged = |key: &Key, minutes: u64| {
        let file = File::options().write(true).open(cache.place(key)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(60 * minutes))
            .unwrap();
    };
    for i in 0..7 {
        cache.put(&other(i), &made).unwrap();
        aged(&other(i), 100 + u64::from(i));
    }
    assert_eq!(cache.stat().unwrap().entries, 8);
    // Used just now, so it stays.
    aged(&key(), 1000);
    assert!(cache.get(&key()).unwrap().is_some());
    // An unfinished file of long ago goes, a new one stays, and what is not ours is not touched.
    let (old, new) = (
        cache.folder.join(".attnc-old"),
        cache.folder.join(".attnc-new"),
    );
    let foreign = cache.folder.join("notes.txt");
    for path in [&old, &new, &foreign] {
        fs::write(path, b"x").unwrap();
    }
    let file = File::options().write(true).open(&old).unwrap();
    file.set_modified(SystemTime::now() - 2 * ABANDONED)
        .unwrap();
    cache.put(&other(7), &made).unwrap();
    let left = cache.stat().unwrap();
    assert!(left.bytes <= cache.limit && left.entries == 6, "{left:?}");
    assert!(cache.place(&key()).exists() && cache.place(&other(7)).exists());
    assert!(!cache.place(&other(6)).exists() && cache.place(&other(0)).exists());
    assert!(!old.exists() && new.exists() && foreign.exists());
    assert_eq!(cache.clear().unwrap(), left);
    assert!(foreign.exists() && !new.exists());
    assert_eq!(cache.stat().unwrap(), CacheStat::default());
}

/// Compiles with a cache that must not be trusted: no kernel of it is taken, and nothing is written to it.
fn refused(cache: &Cache) -> String {
    let (how, trouble) = compile(cache);
    assert_eq!(how, CacheUse::Off);
    match trouble {
        Some(e @ (CacheError::Untrusted { .. } | CacheError::Io { .. })) => e.to_string(),
        other => panic!("{other:?}"),
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn folders_and_entries_that_others_can_write_are_not_trusted() {
    let (_outer, cache, place) = filled();
    assert_eq!(
        cache.folder.metadata().unwrap().permissions().mode() & 0o777,
        0o700
    );
    assert_eq!(
        place.metadata().unwrap().permissions().mode() & 0o777,
        0o600
    );
    for bits in [0o777, 0o720, 0o702, 0o755] {
        mode(&cache.folder, bits);
        let told = refused(&cache);
        assert!(told.contains("chmod 700"), "{told}");
        assert!(cache.stat().is_err() && cache.clear().is_err());
    }
    mode(&cache.folder, 0o700);
    for bits in [0o666, 0o620, 0o602] {
        mode(&place, bits);
        refused(&cache);
    }
    mode(&place, 0o644);
    assert_eq!(compile(&cache).0, CacheUse::Hit);
}

#[test]
fn links_and_other_things_in_the_place_of_folder_or_entry_are_not_followed() {
    let (outer, cache, place) = filled();
    let link = outer.path().join("link");
    symlink(&cache.folder, &link).unwrap();
    refused(&Cache::at(&link));
    refused(&Cache::at(&place));
    refused(&Cache::at(place.join("below a file")));
    let aside = outer.path().join("aside");
    fs::rename(&place, &aside).unwrap();
    symlink(&aside, &place).unwrap();
    refused(&cache);
    fs::remove_file(&place).unwrap();
    fs::create_dir(&place).unwrap();
    refused(&cache);
    fs::remove_dir(&place).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &place, rustix::fs::Mode::RWXU).unwrap();
    refused(&cache);
    // A link to nowhere is no reason to write where it points.
    fs::remove_file(&place).unwrap();
    let target = outer.path().join("target");
    symlink(&target, &place).unwrap();
    refused(&cache);
    assert!(!target.exists());
}

#[test]
fn foreign_owners_are_not_trusted() {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("ATTNC_REQUIRE_ROOT").is_none());
        println!("skipped: only root can give files away");
        return;
    }
    let (_outer, cache, place) = filled();
    chown(&place, Some(12345), None).unwrap();
    assert!(refused(&cache).contains("belongs to user 12345"));
    chown(&place, Some(0), None).unwrap();
    chown(&cache.folder, Some(12345), None).unwrap();
    assert!(refused(&cache).contains("belongs to user 12345"));
}
