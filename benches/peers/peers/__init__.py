# SPDX-License-Identifier: Apache-2.0 OR MIT
"""attnc against PyTorch on the CPU: cases, operators, measurement and report. README.md says how to run it."""
