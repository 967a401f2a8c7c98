# SPDX-License-Identifier: Apache-2.0 OR MIT
"""What can be tested without PyTorch: every file compiles, formulas, ratios, voids, and the tables of the recorded results."""

import copy
import sys
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HERE))

from peers.cases import Case  # noqa: E402
from peers.report import goals, load, markdown, rows  # noqa: E402

MACHINE = {"cpu": "one", "has": ["avx2", "fma"]}
CHECK = {
    "kind": "check",
    "case": "C1-f32",
    "machine": MACHINE,
    "mkl": "shipped",
    "errors": {
        "x86_64-v4/share": {"sampled": 3e-7, "right": True},
        "x86_64-v3/share": {"sampled": 3e-2, "right": False},
        "original": {"sampled": 4e-7, "right": True},
        "hand-views-token": {"sampled": 4e-7, "right": True},
        "dense": {"sampled": 4e-7, "right": True},
    },
}
TIME = {
    "kind": "time",
    "case": "C1-f32",
    "machine": MACHINE,
    "threads": 1,
    "mkl": "shipped",
    "seq_len": 8192,
    "flops": 60_129_542_144,
    "dense_flops": 137_438_953_472,
    "ceilings": {"128": 70.0, "256": 140.0, "512": 280.0},
    "times_ms": {
        "x86_64-v4/share": [210.0, 200.0],
        "x86_64-v3/share": [400.0],
        "original": [700.0],
        "hand-views-token": [640.0, 600.0],
        "hand-views-head": [650.0],
        "dense": [1400.0],
    },
    "madds_executed": {"x86_64-v4/share": 22_000_000_000, "x86_64-v3/share": 22_000_000_000},
    "failed": {"flex": "RuntimeError: no | compiler"},
}


def by_engine(results):
    return {row["engine"]: row for row in rows(results)}


class Peers(unittest.TestCase):
    def test_every_file_compiles(self):
        files = sorted(HERE.glob("*/*.py"))
        self.assertGreater(len(files), 8)
        for path in files:
            text = path.read_text()
            compile(text, str(path), "exec")
            self.assertTrue(text.startswith("# SPDX-License-Identifier: Apache-2.0 OR MIT\n"), path)

    def test_operations_by_formula(self):
        self.assertEqual(Case.of("C1-f32").flops(), 4 * 8 * 64 * 8192 * (2048 + 1024 + 512))
        self.assertEqual(Case.of("C1-bf16-causal").flops() * 2, Case.of("C1-f32").flops())
        # 16384 / 6^2 and 32768 / 12^2 are no integers, their sum times N is not one either.
        pairs = 32768 * (2048 + 1024 + 512) + (32768 * 16384 * 4 + 32768 * 32768) // 144
        self.assertLessEqual(abs(Case.of("C2-f32").flops() - 4 * 8 * 64 * pairs), 4 * 8 * 64)
        self.assertEqual(Case.of("G4096-f32").branches, ((1024, 1), (2048, 2), (4096, 4)))

    def test_what_is_no_case_is_refused(self):
        for name in ("C3-f32", "C1", "C1-f64", "C1-f32-casual", "G3000-f32"):
            with self.assertRaises(ValueError):
                Case.of(name)

    def test_ratios_go_by_the_best_call_and_the_best_variant(self):
        made = by_engine([CHECK, TIME])
        self.assertEqual(made["x86_64-v4/share"]["to_hand"], 3.0)
        self.assertEqual(made["x86_64-v4/share"]["to_original"], 3.5)
        self.assertAlmostEqual(made["x86_64-v4/share"]["part"], 220.0 / 280.0)
        self.assertEqual(made["x86_64-v3/share"]["ceiling"], 140.0)

    def test_unchecked_and_wrong_results_are_void(self):
        made = by_engine([CHECK, TIME])
        self.assertFalse(made["x86_64-v4/share"]["void"])
        self.assertTrue(made["x86_64-v3/share"]["void"])
        self.assertTrue(made["hand-views-head"]["void"])
        self.assertIn("| x86_64-v3/share | 400.0 | 150.3 | void | void |", markdown(rows([CHECK, TIME])))
        wrong = copy.deepcopy(CHECK)
        wrong["errors"]["x86_64-v4/share"]["right"] = False
        self.assertNotIn("x86_64-v4", goals(rows([wrong, TIME])))

    def test_machines_have_sections_of_their_own_and_check_for_themselves(self):
        other = copy.deepcopy(TIME)
        other["machine"]["cpu"] = "another"
        made = rows([CHECK, TIME, other])
        self.assertTrue(all(r["void"] for r in made if r["machine"].startswith("another") and "failed" not in r))
        self.assertEqual(sum(line.startswith("## ") for line in markdown(made).splitlines()), 2)
        self.assertEqual(goals(made).count("| C1-f32 |"), 1)

    def test_a_failure_is_a_row(self):
        self.assertIn("| flex | failed: RuntimeError: no / compiler |", markdown(rows([CHECK, TIME])))

    def test_the_recorded_results_still_make_the_report(self):
        made = rows(load(HERE / "recorded"))
        self.assertGreater(len(made), 20)
        self.assertEqual((HERE / "report.md").read_text(), goals(made) + "\n" + markdown(made))


if __name__ == "__main__":
    unittest.main()
