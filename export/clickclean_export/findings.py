"""What TensorRT would refuse, said by node name with what to do about it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that keeps a file from becoming a plan.

    Attributes:
        code: Stable kebab-case name of the kind of finding, such as "unsigned-qdq".
        where: Node or tensor as the file names it; empty for the file as a whole.
        problem: What is wrong, without the place.
        remedy: What to do about it.
    """

    code: str
    where: str
    problem: str
    remedy: str

    @property
    def sentence(self) -> str:
        """Place and problem, as an error says them."""
        return f"{self.where}: {self.problem}" if self.where else self.problem
