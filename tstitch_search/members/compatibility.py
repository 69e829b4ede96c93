"""Whether members fit together, property by property, before any of them is loaded. Pure functions; imports no torch.

Two members of one family share latents, conditioning and noise process. What differs is `convertible` where a formula
leads from one to the other, and `refused` where only luck would.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tstitch_search.members.facts import MemberFacts
from tstitch_search.members.noise_schedule import Verdict, compare
from tstitch_search.members.shared_facts import SharedFacts

# Denoisers whose latents are packed, by class.
PACKED = (
    "FluxTransformer2DModel",
    "Flux2Transformer2DModel",
    "QwenImageTransformer2DModel",
    "ChromaTransformer2DModel",
)

RESCALED = "rescaling latents would also shift the signal-to-noise ratio that its steps were trained at"

WORST_LAST: tuple[Verdict, ...] = ("same", "convertible", "refused")


@dataclass(frozen=True)
class Finding:
    """A property of a member held against what it has to fit: `other` says whose `expected` is, `why` what follows."""

    member: str
    what: str
    value: object
    other: str
    expected: object
    verdict: Verdict
    why: str = ""

    def __str__(self) -> str:
        text = f"denoiser {self.member!r} has {self.what} {self.value}, but {self.other} {self.expected}"
        return f"{text}: {self.why}" if self.why else text


def worst(findings: Sequence[Finding]) -> Verdict:
    """The verdict on all together."""
    return max((finding.verdict for finding in findings), key=WORST_LAST.index, default="same")


def against_pipeline(member: MemberFacts, shared: SharedFacts, n_classes: int | None) -> list[Finding]:
    """The member held against the pipeline's VAE, scheduler and text encoders, and its own against them.

    `n_classes`: of the search space; None for a family without classes. What is not known is not held against it.
    """
    name, own = member.name, member.own
    vae = "the pipeline's VAE has"
    found = [_channels(member, shared)]
    if n_classes is not None:
        found.append(_equal(name, "classes", member.n_classes, "the search space has n_classes", n_classes))
    if own.vae and shared.vae:
        for what, value, expected in zip(own.vae.NAMES, own.vae.values, shared.vae.values, strict=True):
            finding = _equal(name, f"a VAE with {what}", value, vae, expected)
            is_scale = what == "scaling_factor" and finding.verdict != "same"
            found.append(replace(finding, why=RESCALED) if is_scale else finding)
    if own.noise and shared.noise:
        verdict, why = compare(own.noise, shared.noise)
        found.append(
            Finding(name, "noise process", own.noise, "the pipeline's scheduler has", shared.noise, verdict, why)
        )
    if member.conditioning_width and shared.encoders:
        width = _expected_width(member, [encoder.width for encoder in shared.encoders])
        found.append(_width(name, member.conditioning_width, "the pipeline's text encoders give", width))
    if own.encoders and shared.encoders:
        expected = ", ".join(map(str, shared.encoders))
        found.append(_equal(name, "text encoders", ", ".join(map(str, own.encoders)), "the pipeline has", expected))
    return found


def against_member(member: MemberFacts, other: MemberFacts) -> list[Finding]:
    """The member held against another one that is to share its trajectory."""
    has = f"denoiser {other.name!r} has"
    found = [
        _equal(member.name, what, getattr(member, what), has, getattr(other, what))
        for what in ("in_channels", "sample_size", "n_classes", "timestep_scale")
    ]
    shared = member.prepared.keys() & other.prepared.keys()
    found += [_equal(member.name, key, member.prepared[key], has, other.prepared[key]) for key in sorted(shared)]
    found.append(_output(member, other))
    if member.conditioning_width and other.conditioning_width:
        found.append(_width(member.name, member.conditioning_width, has, other.conditioning_width))
    found.append(_equal(member.name, "added conditioning", member.added_conditioning, has, other.added_conditioning))
    if member.own.noise and other.own.noise:
        verdict, why = compare(member.own.noise, other.own.noise)
        found.append(Finding(member.name, "noise process", member.own.noise, has, other.own.noise, verdict, why))
    if member.own.vae and other.own.vae:
        found.append(_equal(member.name, "VAE", member.own.vae, has, other.own.vae))
    return found


def guidance_embedding(members: Sequence[MemberFacts]) -> list[Finding]:
    """Members whose guidance embedding would be left empty: they would run unguided, unnoticed.

    A pipeline prepares one only if the largest denoiser takes it; then it is given to each that does.
    """
    anchor = max(members, key=lambda m: m.n_parameters or 0)
    if anchor.guidance_embedding:
        return []
    why = "the pipeline would give it no guidance"
    has = f"the largest, {anchor.name!r}, has"
    return [
        Finding(m.name, "a guidance embedding of", m.guidance_embedding, has, "none", "refused", why)
        for m in members
        if m.guidance_embedding
    ]


def _channels(member: MemberFacts, shared: SharedFacts) -> Finding:
    """Some transformers take the latents of a square of 2 x 2 as the channels of one token ("packed").

    Some pipelines put further latents beside: of an image to edit or to begin with, and a mask.
    """
    expected = shared.latent_channels * (4 if member.class_name in PACKED else 1)
    if shared.in_channels > expected:
        has = "the pipeline's own denoiser takes"
        return _equal(member.name, "in_channels", member.in_channels, has, shared.in_channels)
    return _equal(member.name, "in_channels", member.in_channels, "the VAE has latent_channels", expected)


def _expected_width(member: MemberFacts, widths: Sequence[int]) -> int:
    """U-Nets attend to all encoders side by side; transformers to one of them, or to several of its layers."""
    fitting = [w for w in widths if w and member.conditioning_width and member.conditioning_width % w == 0]
    is_transformer = "Transformer" in member.class_name
    return member.conditioning_width if is_transformer and fitting and member.conditioning_width else sum(widths)


def _equal(member: str, what: str, value: object, other: str, expected: object) -> Finding:
    return Finding(member, what, value, other, expected, "same" if value == expected else "refused")


def _width(member: str, width: int, other: str, expected: int) -> Finding:
    verdict: Verdict = "same" if width == expected else "refused"
    why = "" if verdict == "same" else "another text encoder's (SD 1.x: 768, SD 2.x: 1024, SDXL: 2048)"
    return Finding(member, "conditioning width", width, other, expected, verdict, why)


def _output(member: MemberFacts, other: MemberFacts) -> Finding:
    """Learned variances may come beside the prediction: twice the channels, of which the first half counts."""
    fits = member.out_channels == other.out_channels or (
        member.in_channels == other.in_channels
        and {member.out_channels, other.out_channels} == {member.in_channels, 2 * member.in_channels}
    )
    has = f"denoiser {other.name!r} has"
    verdict: Verdict = "same" if fits else "refused"
    return Finding(member.name, "out_channels", member.out_channels, has, other.out_channels, verdict)
