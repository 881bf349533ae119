# Keeps the rows of a SuperGLUE split that are short enough. Called by `pipelines/command.toml`:
#
#   awk -v longest=112 -v train=OUT -v validation=OUT -v metrics=OUT -f short.awk train.jsonl val.jsonl

FNR == 1 { out = FILENAME ~ /train\.jsonl$/ ? train : validation }
{ seen++ }
length($0) <= longest { print > out; kept++ }
END { printf "{\"rows\": %d, \"kept\": %d}\n", seen, kept > metrics }
