"""mBART (Liu et al. 2020, arXiv:2001.08210) and Pegasus (Zhang et al. 2020, arXiv:1912.08777).

BART with the norms before each branch and one at each stack's end; Pegasus has sines for positions.
"""

from tael.model.families.bart import family

__all__ = ["FAMILY", "PEGASUS"]

FAMILY = family(
    "mbart",
    {
        "seq2seq": "MBartForConditionalGeneration", "classify": "MBartForSequenceClassification",
        "qa": "MBartForQuestionAnswering", "none": "MBartModel",
    },
    norm_place="pre",
    final_norm=True,
    position_offset=2,
)  # fmt: skip
PEGASUS = family(
    "pegasus",
    {"seq2seq": "PegasusForConditionalGeneration", "none": "PegasusModel"},
    norm_place="pre",
    final_norm=True,
    position="sinusoidal",
    embedding_norm=False,
)
