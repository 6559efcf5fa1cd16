# Everything of a world that is not the operator: metadata nodes, storage hosts, the front end, the store (Debian's
# valkey-server), the load and the smoke test. Context: the repository, after cluster/images.sh has filled build/images.
FROM debian:trixie-slim AS build
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null \
 && python3 -m venv --without-pip /opt/cellwall \
 && python3 -m venv /pip
ENV PIP="/pip/bin/pip --python /opt/cellwall/bin/python install --quiet --no-index --no-deps --no-compile" \
    SITE=/opt/cellwall/lib/python3.13/site-packages
# Bytecode is compiled here and never checked against its source: at 0.04 core an import must not compile.
ENV COMPILE="python3 -m compileall -q --invalidation-mode unchecked-hash"
COPY build/images/services /wheels
RUN $PIP --find-links /wheels --requirement /wheels/requirements.txt \
 && find $SITE/botocore/data -mindepth 1 -maxdepth 1 -type d ! -name dynamodb -exec rm -r {} + \
 && $COMPILE $SITE
COPY build/images/*.whl /project/
RUN $PIP /project/*.whl && $COMPILE $SITE/cellwall*
COPY loadtests/*.py /opt/cellwall/loadtests/
RUN $COMPILE /opt/cellwall/loadtests

FROM debian:trixie-slim
# The same step as in operator.Dockerfile, so that both images share the layer.
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3 >/dev/null \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* \
 && echo 'cellwall:x:10001:10001::/tmp:/usr/sbin/nologin' >>/etc/passwd \
 && echo 'cellwall:x:10001:' >>/etc/group
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends valkey-server >/dev/null \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/lib/valkey /var/log/*
COPY --from=build /opt/cellwall /opt/cellwall
ENV PATH=/opt/cellwall/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    CELLWALL_LOADTESTS=/opt/cellwall/loadtests
USER 10001:10001
WORKDIR /tmp
CMD ["python", "-m", "cellwall_services.metadata"]
