# The operator and nothing else. Context: the repository, after cluster/images.sh has filled build/images.
FROM debian:trixie-slim AS build
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
COPY build/images/operator/wheels /wheels
RUN python3 -m venv --without-pip /opt/cellwall \
 && python3 -m venv /pip \
 && /pip/bin/pip --python /opt/cellwall/bin/python install --quiet --no-index --no-compile --find-links /wheels \
    'cellwall[operator]' \
 && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/cellwall/lib

FROM debian:trixie-slim
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends python3 >/dev/null \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/archives /var/log/* \
 && echo 'cellwall:x:10001:10001::/tmp:/usr/sbin/nologin' >>/etc/passwd \
 && echo 'cellwall:x:10001:' >>/etc/group
COPY --from=build /opt/cellwall /opt/cellwall
ENV PATH=/opt/cellwall/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /tmp
CMD ["python", "-m", "cellwall_operator"]
