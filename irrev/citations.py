"""References of the methods, by the name under which their results are stored."""

REFERENCES: dict[str, str] = {
    "maxent": (
        "Aguilera, Ito, Kolchinsky, Inferring entropy production in many-body systems "
        "using nonequilibrium maximum entropy, Phys. Rev. Lett. 136, 077101 (2026)."
    ),
    "witness": (
        "Bi, Calhoun, Cross-spectral witness for hidden nonequilibrium beyond the scalar "
        "ceiling, arXiv:2604.03775."
    ),
    "currents": (
        "Lyu, Ray, Crutchfield, Learning stochastic thermodynamics directly from "
        "correlation and trajectory-fluctuation currents, arXiv:2504.19007."
    ),
    "protocols": (
        "Lyu, Ray, Crutchfield, Optimal computation from fluctuation responses, arXiv:2510.03900."
    ),
    "trap_optima": (
        "Schmiedl, Seifert, Optimal finite-time processes in stochastic thermodynamics, "
        "Phys. Rev. Lett. 98, 108301 (2007)."
    ),
    "erasure": (
        "Proesmans, Ehrich, Bechhoefer, Finite-time Landauer principle, "
        "Phys. Rev. Lett. 125, 100602 (2020)."
    ),
    "class_entropy": (
        "Handke et al., The entropic signature of class speciation in diffusion models, "
        "arXiv:2602.09651."
    ),
    "information": (
        "Stančević, Ambrogioni, The information dynamics of generative diffusion, "
        "arXiv:2508.19897."
    ),
    "speed_accuracy": (
        "Ikeda, Uda, Okanohara, Ito, Speed-accuracy relations for diffusion models, "
        "arXiv:2407.04495."
    ),
    "faithfulness": (
        "Halperin, Semantic faithfulness and entropy production measures to tame your LLM "
        "demons, arXiv:2512.05156."
    ),
    "ethical_entropy": (
        "Fadli, Entropy-based measurement of value drift and alignment work in large language "
        "models, arXiv:2512.03047."
    ),
    "second_law": (
        "Fadli, The second law of intelligence: controlling ethical entropy in autonomous "
        "systems, arXiv:2511.10704."
    ),
}


def cite(*methods: str) -> list[str]:
    """Return the references of the given methods, in order, each once.

    Examples
    --------
    >>> cite("maxent")[0][:11]
    'Aguilera, I'
    """
    return list(dict.fromkeys(REFERENCES[m] for m in methods))
