# The image of kvs-infer. VARIANT=gpu (also when absent) has CUDA 13 for hosts with a driver from 580 on, VARIANT=cpu has none.
#   docker build -t kvs-infer .                            docker build --build-arg VARIANT=cpu -t kvs-infer:cpu .
# docs/container.md says what is in it and how it is run.
ARG VARIANT=gpu

# By digest: a tag can be moved. Dependabot, or scripts/image/renew-digests, writes the newest ones.
FROM docker.io/library/debian:bookworm-slim@sha256:88200866dfff7ea7f5cbcb6ec7c8a701889efe6fe859fe64d6990e4b07ea4171 AS debian
FROM docker.io/library/rust:1.95-bookworm@sha256:6258907abe69656e41cd992e0b705cdcfabcbbe3db374f92ed2d47121282d4a1 AS rust

# FFmpeg from Debian's source package: only what is decoded, LGPL, shared, so that it may be replaced. NVDEC needs headers alone: the
# driver's libraries are loaded at run time where there are some.
FROM debian AS ffmpeg
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /src
RUN sed -i 's/^Types: deb$/Types: deb deb-src/' /etc/apt/sources.list.d/debian.sources \
    && apt-get update \
    && apt-get install -y --no-install-recommends build-essential ca-certificates dpkg-dev libffmpeg-nvenc-dev nasm pkg-config \
    && apt-get source ffmpeg \
    && mv ffmpeg-*/ ffmpeg
WORKDIR /src/ffmpeg
RUN ./configure --prefix=/opt/ffmpeg --enable-shared --disable-static --enable-pic \
        --disable-everything --disable-autodetect --disable-programs --disable-doc --disable-network \
        --disable-avdevice --disable-avfilter --disable-postproc --disable-swresample \
        --enable-decoder=h264,hevc --enable-parser=h264,hevc --enable-bsf=h264_mp4toannexb,hevc_mp4toannexb \
        --enable-demuxer=mov,matroska --enable-protocol=file \
        --enable-ffnvcodec --enable-nvdec --enable-hwaccel=h264_nvdec,hevc_nvdec \
    && make -j"$(nproc)" install \
    && strip --strip-unneeded /opt/ffmpeg/lib/*.so.*.*.* \
    && mkdir -p /opt/ffmpeg/licence \
    && dpkg-parsechangelog -S Version > /opt/ffmpeg/licence.version \
    && { echo "FFmpeg, from Debian's source package $(dpkg-parsechangelog -S Version). Configuration:"; \
         sed -n 's/^#define FFMPEG_CONFIGURATION //p' config.h; sed -n 's/^#define FFMPEG_LICENSE //p' config.h; \
         cat COPYING.LGPLv2.1; \
         echo "NVIDIA's headers of the Video Codec SDK, from Debian's package libffmpeg-nvenc-dev:"; \
         cat /usr/share/doc/libffmpeg-nvenc-dev/copyright; } > /opt/ffmpeg/licence/FFmpeg \
    && grep -q '^#define CONFIG_H264_NVDEC_HWACCEL 1$' config_components.h \
    && grep -q '^#define CONFIG_HEVC_NVDEC_HWACCEL 1$' config_components.h \
    && grep -q '^#define FFMPEG_LICENSE "LGPL version 2.1 or later"$' config.h

# The program.
FROM rust AS program
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
RUN apt-get update \
    && apt-get install -y --no-install-recommends clang cmake libclang-dev nasm pkg-config python3 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=ffmpeg /opt/ffmpeg /opt/ffmpeg
ENV PKG_CONFIG_PATH=/opt/ffmpeg/lib/pkgconfig
WORKDIR /src
COPY Cargo.toml Cargo.lock LICENSE ./
COPY scripts/image/licences.py scripts/image/sbom.py scripts/image/
COPY config config
COPY benches benches
COPY crates crates
COPY src src
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin kvs-infer \
    && install -D --strip target/release/kvs-infer /out/bin/kvs-infer \
    && python3 scripts/image/licences.py /out/licence \
    && python3 scripts/image/sbom.py crates /out/sbom/crates.json

# ONNX Runtime, for the GPU what it loads, for the CPU OpenVINO: shared libraries out of PyPI's wheels, pinned by SHA-256.
FROM debian AS wheels
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
RUN apt-get update \
    && apt-get install -y --no-install-recommends binutils ca-certificates python3-pip
ARG VARIANT
COPY scripts/requirements/image-${VARIANT}.txt /tmp/wheels.txt
COPY scripts/image/libraries scripts/image/sbom.py /usr/local/bin/
RUN python3 -m pip install --no-cache-dir --no-deps --require-hashes --target /tmp/wheels -r /tmp/wheels.txt \
    && libraries /tmp/wheels /out "$VARIANT" \
    && python3 /usr/local/bin/sbom.py wheels /tmp/wheels /out/sbom/wheels.json \
    && rm -rf /tmp/wheels

FROM debian AS base
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl libstdc++6 tini \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log \
    && groupadd --gid 10001 kvs-infer \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /app --shell /bin/bash kvs-infer \
    && install -d -o 10001 -g 10001 /app /app/config /app/models /app/.cache
COPY --from=ffmpeg /opt/ffmpeg/lib/ /opt/ffmpeg/lib/
COPY --from=wheels /out/lib/ /opt/onnxruntime/
COPY --from=program /out/bin/kvs-infer /usr/local/bin/kvs-infer
COPY --from=ffmpeg /opt/ffmpeg/licence/ /tmp/licence/ffmpeg/
COPY --from=wheels /out/licence/ /tmp/licence/wheels/
COPY --from=program /out/licence/ /tmp/licence/program/
# A library that is missing fails the build here, not a task at its start. libcuda is the driver's and comes with the host.
RUN rm -rf /opt/ffmpeg/lib/pkgconfig \
    && printf '%s\n' /opt/ffmpeg/lib /opt/onnxruntime > /etc/ld.so.conf.d/kvs-infer.conf \
    && ldconfig \
    && mkdir -p /usr/share/doc/kvs-infer \
    && cat /tmp/licence/*/* /usr/share/doc/*/copyright > /usr/share/doc/kvs-infer/LICENCES \
    && rm -rf /tmp/licence \
    && find /opt/ffmpeg/lib /opt/onnxruntime -name '*.so*' -exec ldd /usr/local/bin/kvs-infer {} + > /tmp/needed \
    && missing="$(grep 'not found' /tmp/needed | grep -v 'libcuda\.so\.1' || true)" \
    && rm /tmp/needed \
    && { [[ -z $missing ]] || { echo "$missing"; exit 1; }; } \
    && kvs-infer --version
ENV ORT_DYLIB_PATH=/opt/onnxruntime/libonnxruntime.so KVS_INFER_CACHE=/app/.cache
WORKDIR /app
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=5s --start-period=300s --retries=4 CMD ["kvs-infer", "healthcheck"]
ENTRYPOINT ["tini", "--", "kvs-infer"]
CMD ["run"]

# What the image is made of, from each stage and from dpkg's list of the image itself, which has no Python.
FROM program AS sbom
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
COPY --from=base /var/lib/dpkg/status /tmp/sbom/status
COPY --from=wheels /out/sbom/wheels.json /tmp/sbom/
RUN python3 scripts/image/sbom.py ffmpeg "$(< /opt/ffmpeg/licence.version)" /tmp/sbom/ffmpeg.json \
    && python3 scripts/image/sbom.py join /tmp/sbom/status /out/sbom.json /out/sbom/crates.json /tmp/sbom/ffmpeg.json /tmp/sbom/wheels.json

FROM base AS image-cpu

FROM base AS image-gpu
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility,video NVIDIA_REQUIRE_CUDA=cuda>=13.0

# hadolint ignore=DL3006
FROM image-${VARIANT}
COPY --from=sbom /out/sbom.json /usr/share/doc/kvs-infer/sbom.json
