#!/bin/sh
# Tell Elasticsearch and Kibana once how our lines look; doing it again changes nothing.
set -eu
cd "$(dirname "$0")"

elasticsearch=${ELASTICSEARCH_URL:-http://elasticsearch:9200}
kibana=${KIBANA_URL:-http://kibana:5601}

# The password goes by standard input: an argument could be read by whoever lists processes.
ask() {
    printf 'user = "%s:%s"\n' "${ELASTICSEARCH_USER:-elastic}" "$ELASTIC_PASSWORD" |
        curl --config - --silent --show-error --fail-with-body \
            --retry "${RETRIES:-60}" --retry-delay 2 --retry-all-errors "$@"
}

json='Content-Type: application/json'
ask -X PUT -H "$json" --data-binary @elasticsearch/lifecycle.json \
    "$elasticsearch/_ilm/policy/classifier-logs"
# Before the first line arrives: the mapping of a data stream that exists changes only at its rollover.
ask -X PUT -H "$json" --data-binary @elasticsearch/index-template.json \
    "$elasticsearch/_index_template/classifier-logs"
# 200 says that Kibana has read the file, not that it took everything in it.
answer=$(ask -X POST -H 'kbn-xsrf: setup' -F file=@kibana/saved-objects.ndjson \
    "$kibana/api/saved_objects/_import?overwrite=true") || { echo "$answer"; exit 1; }
case $answer in
    *'"success":true'*) echo "log stack is set up" ;;
    *) echo "Kibana does not take the saved objects: $answer" >&2; exit 1 ;;
esac
