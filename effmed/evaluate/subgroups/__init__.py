"""Whether the network is worth the same for everyone: measures by sex, age, site, scanner, or any attribute."""

from effmed.evaluate.subgroups.compare import GroupDifference, SubgroupEstimate, holm, subgroup_estimates
from effmed.evaluate.subgroups.groups import Groups, age_bands, make_groups
from effmed.evaluate.subgroups.heterogeneity import Heterogeneity, RandomEffects, heterogeneity, random_effects
from effmed.evaluate.subgroups.measures import Judged, make_judged

__all__ = [
    "GroupDifference",
    "Groups",
    "Heterogeneity",
    "Judged",
    "RandomEffects",
    "SubgroupEstimate",
    "age_bands",
    "heterogeneity",
    "holm",
    "make_groups",
    "make_judged",
    "random_effects",
    "subgroup_estimates",
]
