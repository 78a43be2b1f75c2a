"""What an add did, in numbers; nothing it skipped goes unsaid."""

from dataclasses import dataclass, field

from kalm_reranker.index.sources.record import SourceProblem

# Problems that are listed one by one; all are counted.
MOST_LISTED = 1_000


@dataclass(kw_only=True)
class AddReport:
    """Counts of one add. While it runs, the counts so far.

    An id that occurs more than once counts each time: the last text is the one that stays.

    Attributes:
        added: Passages with a new id.
        replaced: Passages whose text changed under its id.
        unchanged: Passages that are stored already, text and metadata; they were not encoded.
        metadata_updated: Passages whose metadata changed, but not their text; not encoded.
        truncated: Of the encoded ones, cut at the length limit.
        split: Of the encoded ones, longer than the length limit and kept as several windows.
        windows: The windows of those.
        num_problems: Records that could not be used.
        problems: The first 1,000 of them.
        notes: What else is to be known, in words; for example that BM25 could not be brought up to
            date, which searches will try again.
        num_tokens: Tokens encoded, in windows with what they repeat.
        encode_s: Seconds in the encoder, tokenisation and pooling included.
        store_s: Seconds in the store: codec, looking up what is there, writing.
        first_stage_s: Seconds that the first stage took to catch up.
        seconds: Wall clock of everything, reading the source included.
    """

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    metadata_updated: int = 0
    truncated: int = 0
    split: int = 0
    windows: int = 0
    num_problems: int = 0
    problems: list[SourceProblem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    num_tokens: int = 0
    encode_s: float = 0.0
    store_s: float = 0.0
    first_stage_s: float = 0.0
    seconds: float = 0.0

    @property
    def num_records(self) -> int:
        """Records read, usable or not."""
        return self.num_passages + self.num_problems

    @property
    def num_passages(self) -> int:
        """Records that were passages."""
        return self.added + self.replaced + self.unchanged + self.metadata_updated

    def note_problem(self, problem: SourceProblem) -> None:
        """Counts a record that cannot be used."""
        self.num_problems += 1
        if len(self.problems) < MOST_LISTED:
            self.problems.append(problem)
