#!/bin/bash
# First boot of a host: joins the cluster, makes the folders that the task mounts, fills them from S3 where a bucket is named.
# `sed` puts in the two names before the launch template is made. The AMI starts the agent itself, after this has ended.
set -eu
cluster="${ECS_CLUSTER_NAME}"
bucket="${S3_BUCKET_NAME}"

cat >>/etc/ecs/ecs.config <<EOF
ECS_CLUSTER=$cluster
ECS_ENABLE_GPU_SUPPORT=true
ECS_AWSVPC_BLOCK_IMDS=true
ECS_ENABLE_SPOT_INSTANCE_DRAINING=true
EOF

# 10001 is the user of the image.
install -d -m 0755 /opt/kvs-infer /opt/kvs-infer/config /opt/kvs-infer/models
install -d -m 0750 -o 10001 -g 10001 /opt/kvs-infer/cache

# Without these the task says what is missing and is started again; the host must join the cluster all the same. This runs once in a host's
# life, and the way to S3 may come after it: hence for up to ten minutes.
fill() {
    command -v aws >/dev/null || dnf install -y -q awscli-2 || return
    aws s3 sync "s3://$bucket/config/" /opt/kvs-infer/config/ && aws s3 sync "s3://$bucket/models/" /opt/kvs-infer/models/
}
fill_in_time() {
    for _ in $(seq 30); do
        if fill; then return; fi
        sleep 20
    done
    return 1
}
[ -z "$bucket" ] || fill_in_time || echo "kvs-infer: config or models not copied from $bucket" >&2
