// SPDX-License-Identifier: Apache-2.0 OR MIT
//! tmp
#[test]
fn corpus() {
    let mut bad = 0;
    for dir in ["/tmp/tk", "/work/shared/ptx-cases"] {
        for e in std::fs::read_dir(dir).unwrap() {
            let p = e.unwrap().path();
            if p.extension().is_some_and(|x| x == "ptx") {
                let t = std::fs::read_to_string(&p).unwrap();
                match attnc_ptx::parse(&t) {
                    Ok(m) => {
                        let s = attnc_ptx::print(&m);
                        match attnc_ptx::parse(&s) { Ok(m2) => if m != m2 { bad += 1; println!("{p:?} differs") }, Err(e) => { bad += 1; println!("{p:?} reparse {e}"); } }
                    }
                    Err(e) => { bad += 1; println!("{p:?}: {e}"); }
                }
            }
        }
    }
    assert_eq!(bad, 0);
}
