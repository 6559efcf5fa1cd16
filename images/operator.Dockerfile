# The operator and nothing else. Context: the repository, after cluster/images.sh has filled build/images.
FROM debian:trixie-slim AS build
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null \
 && python3 -m venv --without-pip /opt/cellwall \
 && python3 -m venv /pip
ENV PIP="/pip/bin/pip --python /opt/cellwall/bin/python install --quiet --no-index --no-deps --no-compile" \
    SITE=/opt/cellwall/lib/python3.13/site-packages
ENV COMPILE="python3 -m compileall -q --invalidation-mode unchecked-hash"
COPY build/images/operator /wheels
# The generated half of the Kubernetes client gets no bytecode (60 MB): the dynamic client imports none of it.
RUN $PIP --find-links /wheels --requirement /wheels/requirements.txt \
 && $COMPILE -x '/kubernetes/(aio/)?client/(api|models)/' $SITE
COPY build/images/*.whl /project/
RUN $PIP /project/*.whl && $COMPILE $SITE/cellwall*

FROM debian:trixie-slim
# The same step as in services.Dockerfile, so that both images share the layer.
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3 >/dev/null \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* \
 && echo 'cellwall:x:10001:10001::/tmp:/usr/sbin/nologin' >>/etc/passwd \
 && echo 'cellwall:x:10001:' >>/etc/group
COPY --from=build /opt/cellwall /opt/cellwall
ENV PATH=/opt/cellwall/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /tmp
CMD ["python", "-m", "cellwall_operator"]
