#!/bin/sh
# Installs the mapping of our log lines and the dashboard. To run it again changes nothing.
set -eu
cd "$(dirname "$0")"

elasticsearch=${ELASTICSEARCH_URL:-http://elasticsearch:9200}
kibana=${KIBANA_URL:-http://kibana:5601}

# The password goes through standard input, because other users can see arguments.
ask() {
    printf 'user = "%s:%s"\n' "${ELASTICSEARCH_USER:-elastic}" "$ELASTIC_PASSWORD" |
        curl --config - --silent --show-error --fail-with-body \
            --retry "${RETRIES:-60}" --retry-delay 2 --retry-all-errors "$@"
}

# The password of Logstash, in a file that only this program may read.
umask 077
user=$(mktemp)
trap 'rm -f "$user"' EXIT

json='Content-Type: application/json'
ask -X PUT -H "$json" --data-binary @elasticsearch/lifecycle.json \
    "$elasticsearch/_ilm/policy/classifier-logs"
# Logstash may write these lines and nothing else.
ask -X PUT -H "$json" --data-binary @elasticsearch/logstash-role.json \
    "$elasticsearch/_security/role/classifier_logstash"
printf '{"password": "%s", "roles": ["classifier_logstash"]}' "$LOGSTASH_PASSWORD" >"$user"
ask -X PUT -H "$json" --data-binary "@$user" "$elasticsearch/_security/user/classifier_logstash"
# It must come before the first line. Later, the mapping changes only at the next rollover.
ask -X PUT -H "$json" --data-binary @elasticsearch/index-template.json \
    "$elasticsearch/_index_template/classifier-logs"
# The status 200 does not say that Kibana accepted everything in the file.
answer=$(ask -X POST -H 'kbn-xsrf: setup' -F file=@kibana/saved-objects.ndjson \
    "$kibana/api/saved_objects/_import?overwrite=true") || { echo "$answer"; exit 1; }
case $answer in
    *'"success":true'*) echo "The log stack is set up." ;;
    *) echo "Kibana refused the saved objects: $answer" >&2; exit 1 ;;
esac
