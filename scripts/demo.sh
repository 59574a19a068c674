#!/usr/bin/env bash
# Encodes the example documents into a bank and asks the example questions: answer, evidence, time, right or wrong.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
msa=build/release/msa
bank=build/demo/bank
mkdir -p build/demo

echo
echo "== Encoding examples/ into $bank"
status=0
"$msa" ingest "$bank" examples/documents.jsonl examples/memory.md || status=$?
if [ "$status" -eq 8 ]; then # a bank of the model that was here before
  echo "made anew with the model of today"
  rm -rf "$bank" && status=0
  "$msa" ingest "$bank" examples/documents.jsonl examples/memory.md || status=$?
fi
[ "$status" -eq 0 ] || exit "$status"
"$msa" bank stat "$bank" --json | jq -r '"\(.documents) documents, \(.tokens) tokens, \(.chunks) chunks, \(.bytes / 1e6 * 10 | round / 10) MB on disk"'

echo
echo "== Asking $(wc -l <examples/questions.jsonl) questions that the model was not trained on"
"$msa" ask "$bank" --questions examples/questions.jsonl --output build/demo/answers.jsonl
paste -d '\n' examples/questions.jsonl build/demo/answers.jsonl | jq -rn '
  def norm: ascii_downcase | gsub("[[:punct:]]"; "") | gsub("\\b(a|an|the)\\b"; " ") | gsub("\\s+"; " ") | ltrimstr(" ") | rtrimstr(" ");
  [inputs] as $lines
  | [range(0; $lines | length; 2) | {q: $lines[.], a: $lines[. + 1]}]
  | (map(. + {
      right: ((.a.answer | norm) as $got | any(.q.answers[]; norm == $got)),
      found: (.q.documents as $gold | any(.a.evidence[]; .name as $n | $gold | index($n) != null))})) as $all
  | ($all[] | "",
      "Q: \(.q.question)",
      "A: \(.a.answer)   [\(if .right then "right" else "wrong; expected \(.q.answers[0])" end); document \(if .found then "found" else "not found" end); \(.a.timing_ms.total | round) ms]",
      (.a.evidence[0] | if . then "   \(.name) bytes \(.start)-\(.end): \"\(.quote)\"" else empty end)),
    "",
    "\($all | map(select(.right)) | length) of \($all | length) answers right, the right document read for \($all | map(select(.found)) | length)."'
cat <<END

== Your own documents
  $msa ingest my.bank PATH...          # .txt, .md, .jsonl, folders, also .zst; run it again to add more
  $msa ask my.bank "your question"     # --trace shows how the documents were found, --json gives everything
  $msa chat my.bank
END
