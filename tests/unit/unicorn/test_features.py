"""What the identification registers tell a guest is what the engine executes: each feature's instruction, and no other."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from avmm.plugin import HALTED, SystemRegister
from avmm_arm64.sysregs import CPU_MODELS, ID_AA64PFR0
from tests.unit.unicorn.guest import CODE, DEADLINE, RAM, Guest

PFR0, PFR1, ISAR0, ISAR1, MMFR1, MMFR2 = (0, 4, 0), (0, 4, 1), (0, 6, 0), (0, 6, 1), (0, 7, 1), (0, 7, 2)
"""CRn, CRm, op2 of ID_AA64*_EL1."""
ESR_UNDEFINED = 0x0200_0000
WFI = 0xD503207F
# mov x0, #0xffff << 16; movk x0, #0xffff; msr cpacr_el1, x0; isb: all of it, SVE by CPACR_EL1.ZEN too
EVERYTHING_ON = (0xD2BFFFE0, 0xF29FFFE0, 0xD5181040, 0xD5033FDF)
CPACR = (1, 0, 2)
FPEN = 3 << 20


@dataclass(frozen=True)
class Feature:
    """There when the four-bit field at `shift` of `register` is at least `least`; then `instruction` can be executed."""

    name: str
    register: tuple[int, int, int]
    shift: int
    least: int
    instruction: int

    def __str__(self) -> str:
        return self.name


FEATURES = (
    Feature("AES", ISAR0, 4, 1, 0x4E284820),  # aese v0.16b, v1.16b
    Feature("PMULL", ISAR0, 4, 2, 0x0EE2E020),  # pmull v0.1q, v1.1d, v2.1d
    Feature("SHA1", ISAR0, 8, 1, 0x5E280820),  # sha1h s0, s1
    Feature("SHA256", ISAR0, 12, 1, 0x5E282820),  # sha256su0 v0.4s, v1.4s
    Feature("SHA512", ISAR0, 12, 2, 0xCEC08020),  # sha512su0 v0.2d, v1.2d
    Feature("CRC32", ISAR0, 16, 1, 0x1AC24020),  # crc32b w0, w1, w2
    Feature("LSE", ISAR0, 20, 2, 0xF8200061),  # ldadd x0, x1, [x3]
    Feature("RDM", ISAR0, 28, 1, 0x6E828420),  # sqrdmlah v0.4s, v1.4s, v2.4s
    Feature("SHA3", ISAR0, 32, 1, 0xCE020C20),  # eor3 v0.16b, v1.16b, v2.16b, v3.16b
    Feature("SM3", ISAR0, 36, 1, 0xCE62C020),  # sm3partw1 v0.4s, v1.4s, v2.4s
    Feature("SM4", ISAR0, 40, 1, 0xCEC08420),  # sm4e v0.4s, v1.4s
    Feature("DotProd", ISAR0, 44, 1, 0x4E829420),  # sdot v0.4s, v1.16b, v2.16b
    Feature("FHM", ISAR0, 48, 1, 0x4E22EC20),  # fmlal v0.4s, v1.4h, v2.4h
    Feature("FlagM", ISAR0, 52, 1, 0xD500401F),  # cfinv
    Feature("FlagM2", ISAR0, 52, 2, 0xD500405F),  # axflag
    Feature("RNG", ISAR0, 60, 1, 0xD53B2400),  # mrs x0, rndr
    Feature("DPB", ISAR1, 0, 1, 0xD50B7C23),  # dc cvap, x3
    Feature("DPB2", ISAR1, 0, 2, 0xD50B7D23),  # dc cvadp, x3
    Feature("JSCVT", ISAR1, 12, 1, 0x1E7E0000),  # fjcvtzs w0, d0
    Feature("FCMA", ISAR1, 16, 1, 0x6E82E420),  # fcadd v0.4s, v1.4s, v2.4s, #90
    Feature("LRCPC", ISAR1, 20, 1, 0xF8BFC060),  # ldapr x0, [x3]
    Feature("LRCPC2", ISAR1, 20, 2, 0xD9400060),  # ldapur x0, [x3]
    Feature("FRINTTS", ISAR1, 32, 1, 0x1E684020),  # frint32z d0, d1
    Feature("SB", ISAR1, 36, 1, 0xD50330FF),  # sb
    Feature("SPECRES", ISAR1, 40, 1, 0xD50B7380),  # cfp rctx, x0
    Feature("BF16", ISAR1, 44, 1, 0x6E42FC20),  # bfdot v0.4s, v1.8h, v2.8h
    Feature("I8MM", ISAR1, 52, 1, 0x4E82A420),  # smmla v0.4s, v1.16b, v2.16b
    Feature("SVE", PFR0, 32, 1, 0x2518E3E0),  # ptrue p0.b
    Feature("DIT", PFR0, 48, 1, 0xD503415F),  # msr dit, #1
    Feature("SSBS2", PFR1, 4, 2, 0xD503413F),  # msr ssbs, #1
    Feature("MTE", PFR1, 8, 1, 0x9ADF1060),  # irg x0, x3
    Feature("PAN", MMFR1, 20, 1, 0xD500419F),  # msr pan, #1
    Feature("UAO", MMFR2, 4, 1, 0xD500417F),  # msr uao, #1
)
HALF_PRECISION = (
    Feature("FP16", PFR0, 16, 1, 0x1EE22820),  # fadd h0, h1, h2
    Feature("FP16, SIMD", PFR0, 20, 1, 0x4E421420),  # fadd v0.8h, v1.8h, v2.8h
)
"""Their fields are signed: 15 is no floating point at all."""


def mrs(register: tuple[int, int, int]) -> int:
    """mrs x2, <register> (op0 3, op1 0)."""
    crn, crm, op2 = register
    return 0xD5380002 | crn << 12 | crm << 8 | op2 << 5


@pytest.mark.parametrize("feature", [*FEATURES, *HALF_PRECISION], ids=str)
@pytest.mark.parametrize("cpu", CPU_MODELS)
def test_a_feature_is_there_when_it_is_said_to_be(cpu: str, feature: Feature) -> None:
    own = SystemRegister("ID_AA64PFR0_EL1", (3, 0, 0, 4, 0), constant=ID_AA64PFR0[cpu])
    with Guest(cpu=cpu, registers=[own]) as guest:
        program = (*EVERYTHING_ON, mrs(feature.register), feature.instruction, WFI)
        guest.start(program, x3=RAM + 0x8000)
        assert guest.vcpu.enter(DEADLINE) is HALTED
        told = guest.registers("x2")[0] >> feature.shift & 0xF
        exceptions, syndrome, pc = guest.registers("x29", "esr_el1", "elr_el1")
        if feature.least <= told != 0xF:
            assert exceptions == 0, f"said to be there ({told}), but {syndrome:#x}"
        else:
            refused = CODE + 4 * (len(EVERYTHING_ON) + 1)
            assert (exceptions, syndrome, pc) == (1, ESR_UNDEFINED, refused), f"said not to be there ({told})"


@pytest.mark.parametrize("cpu", CPU_MODELS)
def test_cpacr_keeps_only_what_there_is_to_let_through(cpu: str) -> None:
    """Arm ARM D17.2.30: ZEN, SMEN and TTA are RES0 without SVE, SME and trace registers."""
    with Guest(cpu=cpu) as guest:
        guest.start((mrs(CPACR), *EVERYTHING_ON, 0xAA0203E3, mrs(CPACR), WFI))  # mov x3, x2 between
        assert guest.vcpu.enter(DEADLINE) is HALTED
        assert guest.registers("x3", "x2") == (0, FPEN)
